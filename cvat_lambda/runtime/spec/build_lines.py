"""Read the lines of ``spec.build``, which build an image in Nuclio, for a runtime without images.

Lines that install Python packages become requirements. ``ENV`` lines become variables. Each other
line is reported with what to write instead.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.spec.fields import JsonObject, mapping

_OPT_NUCLIO: Final = "/opt/nuclio"
# mim, of OpenMMLab, passes its arguments to pip.
_PIP: Final = re.compile(r"^(pip[\d.]*|mim)$")
_PYTHON: Final = re.compile(r"^python[\d.]*$")
_ASSIGNMENT: Final = re.compile(r"^[A-Za-z_]\w*=")
_CONDA: Final = frozenset({"conda", "mamba", "micromamba"})
_SHELLS: Final = frozenset({"sh", "bash"})
_SHELL_OPTION: Final = re.compile(r"^-[a-z]*c$")
# Words of a shell before a command.
_PREFIXES: Final = frozenset({"sudo", "exec", "time", "then", "else", "do", "{", "!"})
_COMMENT_LINE: Final = re.compile(r"^[ \t]*#.*\n?", re.MULTILINE)
# Texts in quotes are kept. `>=` is not a redirection: people forget to quote versions.
_COMMENT_OR_REDIRECTION: Final = re.compile(
    r"""('[^']*'|"[^"]*")|(?<!\S)\#[^\n]*|(?<!\S)[012&]?>{1,2}(?!=)[ \t]*(?:&[012-]|[^\s;&|]+)"""
)
_ARCHIVE: Final = re.compile(r"\.(whl|zip|tar\.gz)$")
# Image name -> the packages that it brings.
_BASE_IMAGES: Final = (
    (re.compile(r"(^|/)ultralytics\b"), ("ultralytics",)),
    (re.compile(r"\bmmdet"), ("torch", "torchvision", "mmengine", "mmcv", "mmdet")),
    (re.compile(r"(^|/)pytorch\b"), ("torch", "torchvision")),
    (re.compile(r"\bopenvino\b"), ("openvino",)),
    (re.compile(r"(^|/)tensorflow\b"), ("tensorflow",)),
)
_BARE_IMAGES: Final = re.compile(r"(^|/)(python|ubuntu|debian|alpine|cuda|handler-builder[\w-]*)\b")
# Options of pip and uv with a value that have no effect here.
_IGNORED_WITH_VALUE: Final = re.compile(
    r"^(-[tpCP]|--(target|prefix|root|src|platform|python|python-version|implementation|abi"
    r"|trusted-host|proxy|cert|client-cert|timeout|default-timeout|retries|no-binary|only-binary"
    r"|config-settings?|global-option|install-option|build-option|cache-dir|log|report"
    r"|exists-action|progress-bar|upgrade-strategy|upgrade-package|root-user-action|use-feature"
    r"|use-deprecated|group|torch-backend|index-strategy|link-mode))$"
)
_INDEXES: Final = {
    # An index of one line must not hide the packages of the others.
    "-i": "--extra-index-url",
    "--index-url": "--extra-index-url",
    "--extra-index-url": "--extra-index-url",
    "--index": "--extra-index-url",
    "--default-index": "--extra-index-url",
    "-f": "--find-links",
    "--find-links": "--find-links",
}
_FILES: Final = {"-r": "-r", "--requirement": "-r", "-c": "-c", "--constraint": "-c"}
_WITH_VALUE: Final = frozenset({*_INDEXES, *_FILES, "-e", "--editable"})
_HARMLESS: Final = re.compile(
    r"^(mkdir|rm|ln|chmod|chown|cd|echo|true|set|export|which|ldconfig|locale-gen|alias|source|\."
    r"|update-alternatives|if|fi|for|done|while|\}|\[|\[\[|test)$"
)
# Debian packages that a function's Python code does not need by itself.
_TOOLS: Final = re.compile(
    r"^(python3?[\d.]*(-\w+)*|pip|git|wget|curl|ca-certificates|build-essential|gcc|g\+\+|cmake|make"
    r"|unzip|ninja-build|libgl1.*|libglib2.*|libsm6|libxext6|libxrender.*)$"
)
_OPENCV: Final = re.compile(r"^opencv(-contrib)?-python(?=$|[\[<>=!~ ;])", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class BuildLines:
    """The packages and variables that ``spec.build`` sets up."""

    requirements: list[str] = field(default_factory=list)  # lines of a requirements file
    variables: list[tuple[str, str]] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)  # a sentence a line that has no effect here


def read_build_lines(build: JsonObject, folder: Path) -> BuildLines:
    """Read commands, directives and base image of a function; raise ValueError for a bad type."""
    found = BuildLines()
    _read_base_image(str(build.get("baseImage") or ""), found)
    for kind, value in _directives(build):
        if kind == "RUN":
            for words in _commands(value):
                _read_command(words, folder, found)
        elif kind == "ENV":
            _read_env(value, found)
        elif kind in ("COPY", "ADD") and not _copies_into_itself(value, folder):
            found.not_run.append(
                f"{kind} {value} is not run: the function sees its own folder, put the files there"
            )
    # The folder contains the files of an include. Repeated lines are dropped.
    found.requirements[:] = dict.fromkeys(found.requirements)
    return found


def _copies_into_itself(value: str, folder: Path) -> bool:
    """Return whether files of the folder are copied to where the function sees its folder."""
    *sources, target = value.split() or [""]
    return _is_opt_nuclio(target) and all(
        (folder / _inside(source)).exists() for source in sources if not source.startswith("--")
    )


def _directives(build: JsonObject) -> Iterator[tuple[str, str]]:
    commands = build.get("commands") or []
    if not isinstance(commands, list):
        raise ValueError("spec.build.commands must be a list")
    for command in commands:
        yield "RUN", str(command)
    for place, lines in mapping(build.get("directives"), "spec.build.directives").items():
        for line in lines if isinstance(lines, list) else []:
            if not isinstance(line, dict):
                raise ValueError(f"spec.build.directives.{place} must be a list of {{kind, value}}")
            yield str(line.get("kind") or "").strip().upper(), str(line.get("value") or "").strip()


def _read_base_image(image: str, found: BuildLines) -> None:
    if not image or _BARE_IMAGES.search(image.partition(":")[0]):
        return
    for pattern, packages in _BASE_IMAGES:
        if pattern.search(image):
            found.requirements += packages
            return
    found.not_run.append(
        f"spec.build.baseImage {image} is not used: name its packages in requirements.txt"
    )


def _commands(text: str) -> list[list[str]]:
    """Split a line of a shell into its commands, each as a list of words."""
    if text.lstrip().startswith("["):  # the form without a shell: ["pip", "install", "a"]
        try:
            return [[str(word) for word in json.loads(text)]]
        except ValueError:
            pass  # the shell's command `[`
    text = _COMMENT_LINE.sub("", text).replace("\\\n", " ")
    text = _COMMENT_OR_REDIRECTION.sub(lambda match: match[1] or "", text)
    reader = shlex.shlex(text, posix=True, punctuation_chars="();&|\n")
    reader.whitespace = " \t\r"
    reader.whitespace_split = True
    reader.commenters = ""
    commands: list[list[str]] = [[]]
    try:
        for word in reader:
            if word.strip("();&|\n") == "":
                commands.append([])
            else:
                commands[-1].append(word)
    except ValueError:  # a quote that is not closed
        return [text.split()]
    return [words for words in commands if words]


def _read_command(words: list[str], folder: Path, found: BuildLines) -> None:
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _PREFIXES):
        words = words[1:]
    if not words or words[0].startswith("@nuclio."):  # a place between the lines, not a command
        return
    program = words[0].rpartition("/")[2]
    if program in _SHELLS and len(words) > 2 and _SHELL_OPTION.match(words[1]):
        for inner in _commands(words[2]):
            _read_command(inner, folder, found)
        return
    if program in _CONDA and words[1:2] == ["run"]:  # a command in an environment of conda
        starts = [at for at, word in enumerate(words) if _PIP.match(word) or _PYTHON.match(word)]
        words = words[starts[0] :] if starts else words
        program = words[0]
    if _PYTHON.match(program) and words[1:3] == ["-m", "pip"]:
        program, words = "pip", words[2:]
    if program == "uv" and words[1:2] == ["pip"]:
        program, words = "pip", words[1:]
    if _PIP.match(program):
        _read_pip(words[1:], folder, found)
        return
    line = " ".join(words)
    if program in ("apt-get", "apt", "apk", "yum", "dnf"):
        _read_system_packages(line, words[1:], found)
    elif program == "git" and words[1:2] == ["clone"]:
        found.not_run.append(
            f"{line} is not run: put the code into the folder, or write a requirement git+URL"
        )
    elif program in ("curl", "wget", "gdown"):
        found.not_run.append(
            f"{line} is not run: declare the file in x-cvat-lambda.weights, or add it to the folder"
        )
    elif program in (*_CONDA, "uv", "poetry", "pipenv"):
        if {"install", "create", "env", "sync", "add"}.intersection(words):
            found.not_run.append(f"{line} is not run: name the packages in requirements.txt")
    elif not _HARMLESS.match(program):
        found.not_run.append(f"{line} is not run: put its result into the folder")


def _read_pip(words: list[str], folder: Path, found: BuildLines) -> None:
    """Read the arguments of pip, whose options may be before and after its command."""
    if words[:1] == ["config"]:
        found.requirements += [
            f"--extra-index-url {url}"
            for name, url in pairwise(words)
            if name.endswith("index-url")
        ]
    if "install" not in words:
        return
    at = words.index("install")
    todo = words[:at] + words[at + 1 :]
    while todo:
        word = todo.pop(0)
        option, has_value, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if option in _WITH_VALUE or _IGNORED_WITH_VALUE.match(option):
            value = value if has_value else (todo.pop(0) if todo else "")
        if "$" in value or "$" in word:
            found.not_run.append(f"pip install {word} is not run: it names a variable of the image")
        elif option in _INDEXES:
            found.requirements.append(f"{_INDEXES[option]} {value}")
        elif option in _FILES:
            _add_file(_FILES[option], value, folder, found)
        elif option in ("-e", "--editable"):
            _add_requirement(value, folder, found, prefix="-e ")
        elif option == "--pre":
            found.requirements.append("--pre")
        elif not word.startswith("-") and word != "pip":
            _add_requirement(word, folder, found)


def _add_file(option: str, value: str, folder: Path, found: BuildLines) -> None:
    path = _inside(value)
    if (folder / path).is_file():
        found.requirements.append(f"{option} {path}")
    else:
        found.not_run.append(f"pip install {option} {value} is not run: the folder has no {path}")


def _add_requirement(word: str, folder: Path, found: BuildLines, prefix: str = "") -> None:
    is_url = "://" in word or word.startswith("git+")
    if word.startswith((".", "/")) or (not is_url and _is_path(word, editable=bool(prefix))):
        path = _inside(word)
        if path in ("", "."):  # the image's current folder
            if not any((folder / name).exists() for name in ("pyproject.toml", "setup.py")):
                found.not_run.append(
                    f"pip install {word} is not run: the folder has no pyproject.toml or setup.py"
                )
                return
            word = "."
        elif not (folder / path).exists():
            found.not_run.append(f"pip install {word} is not run: the folder has no {path}")
            return
        else:
            word = f"./{path}"
    # Functions show no windows, and the machine may lack the libraries of OpenCV's windows.
    found.requirements.append(prefix + _OPENCV.sub(r"opencv\1-python-headless", word))


def _is_path(word: str, *, editable: bool) -> bool:
    return editable or word.endswith("/") or _ARCHIVE.search(word) is not None


def _inside(path: str) -> str:
    """Return a path of an image relative to the function's folder."""
    if _is_opt_nuclio(path):
        path = path[len(_OPT_NUCLIO) :]
    return path.removeprefix("./").strip("/")


def _is_opt_nuclio(path: str) -> bool:
    return path == _OPT_NUCLIO or path.startswith(_OPT_NUCLIO + "/")


def _read_system_packages(line: str, words: list[str], found: BuildLines) -> None:
    if not {"install", "add"}.intersection(words):
        return
    named = [word for word in words if not word.startswith("-") and word not in ("install", "add")]
    missing = [name for name in named if not _TOOLS.match(name)]
    if missing:
        found.not_run.append(
            f"{line} is not run: install {', '.join(missing)} on the runtime's machine"
        )


def _read_env(value: str, found: BuildLines) -> None:
    try:
        words = shlex.split(value)
    except ValueError:
        words = [value]
    if words and "=" not in words[0]:  # the older form: ENV NAME some words
        name, _, rest = value.partition(" ")
        words = [f"{name}={rest.strip()}"]
    for word in words:
        name, is_pair, text = word.partition("=")
        if name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
            found.requirements += [f"--extra-index-url {url}" for url in text.split()]
        elif is_pair and "$" not in text and not name.startswith("PIP_") and name != "PATH":
            found.variables.append((name, text))
