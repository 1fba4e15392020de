"""Read the lines of ``spec.build``, which build an image in Nuclio, for a runtime without images.

Lines that install Python packages become requirements. ``ENV`` lines become variables. Variables of
``ENV``, ``ARG`` and ``export`` are replaced by their values, except where a shell would not replace
them (`shell_words`). Each other line is reported with what to write instead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.spec.fields import JsonObject, mapping
from cvat_lambda.runtime.spec.pip_lines import BuildLines, inside, is_opt_nuclio, read_pip
from cvat_lambda.runtime.spec.shell_words import (
    expand,
    expand_word,
    has_variable,
    is_replaced_in_image,
    mark_dollars,
    plain,
    split_commands,
    why_unknown,
)

_INDEX_VARIABLES: Final = ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL")
# mim, of OpenMMLab, passes its arguments to pip.
_PIP: Final = re.compile(r"^(pip[\d.]*|mim)$")
_PYTHON: Final = re.compile(r"^python[\d.]*$")
_RUN_OPTIONS: Final = re.compile(r"^(--(mount|network|security)=\S+[\s\\]+)+")  # of Docker
_ASSIGNMENT: Final = re.compile(r"^[A-Za-z_]\w*=")
_CONDA: Final = frozenset({"conda", "mamba", "micromamba"})
_SHELLS: Final = frozenset({"sh", "bash"})
_SHELL_OPTION: Final = re.compile(r"^-[a-z]*c$")
# Words of a shell before a command.
_PREFIXES: Final = frozenset({"sudo", "exec", "time", "then", "else", "do", "{", "!"})
# Image name -> the packages that it brings.
_BASE_IMAGES: Final = (
    (re.compile(r"(^|/)ultralytics\b"), ("ultralytics",)),
    (re.compile(r"\bmmdet"), ("torch", "torchvision", "mmengine", "mmcv", "mmdet")),
    (re.compile(r"(^|/)pytorch\b"), ("torch", "torchvision")),
    (re.compile(r"\bopenvino\b"), ("openvino",)),
    (re.compile(r"(^|/)tensorflow\b"), ("tensorflow",)),
)
_BARE_IMAGES: Final = re.compile(r"(^|/)(python|ubuntu|debian|alpine|cuda|handler-builder[\w-]*)\b")
_HARMLESS: Final = re.compile(
    r"^(mkdir|rm|ln|chmod|chown|cd|echo|true|set|export|which|ldconfig|locale-gen|alias|source|\."
    r"|update-alternatives|if|fi|for|done|while|\}|\[|\[\[|test)$"
)
# Debian packages that a function's Python code does not need by itself.
_TOOLS: Final = re.compile(
    r"^(python3?[\d.]*(-\w+)*|pip|git|wget|curl|ca-certificates|build-essential|gcc|g\+\+|cmake|make"
    r"|unzip|ninja-build|libgl1.*|libglib2.*|libsm6|libxext6|libxrender.*)$"
)


def read_build_lines(build: JsonObject, folder: Path) -> BuildLines:
    """Read commands, directives and base image of a function; raise ValueError for a bad type."""
    found = BuildLines()
    known: dict[str, str] = {}  # variables of the image, and their values
    _read_base_image(str(build.get("baseImage") or ""), found)
    for kind, value in _directives(build):
        if kind == "RUN":
            shell = dict(known)
            for words in split_commands(_RUN_OPTIONS.sub("", value)):
                _read_command(words, folder, found, shell)
        elif kind in ("ENV", "ARG"):
            _read_variables(kind, value, known, found)
        elif kind in ("COPY", "ADD") and not _copies_into_itself(value, folder):
            found.not_run.append(
                f"{kind} {value} is not run: the function sees its own folder, put the files there"
            )
    # The folder contains the files of an include. Repeated lines are dropped.
    found.requirements[:] = dict.fromkeys(map(plain, found.requirements))
    found.variables[:] = [(name, plain(text)) for name, text in found.variables]
    found.not_run[:] = map(plain, found.not_run)
    return found


def _copies_into_itself(value: str, folder: Path) -> bool:
    """Return whether files of the folder are copied to where the function sees its folder."""
    *sources, target = value.split() or [""]
    return is_opt_nuclio(target) and all(
        (folder / inside(source)).exists() for source in sources if not source.startswith("--")
    )


def _directives(build: JsonObject) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each line. The commands come last: directives set their variables."""
    for place, lines in mapping(build.get("directives"), "spec.build.directives").items():
        for line in lines if isinstance(lines, list) else []:
            if not isinstance(line, dict):
                raise ValueError(f"spec.build.directives.{place} must be a list of {{kind, value}}")
            yield str(line.get("kind") or "").strip().upper(), str(line.get("value") or "").strip()
    commands = build.get("commands") or []
    if not isinstance(commands, list):
        raise ValueError("spec.build.commands must be a list")
    for command in commands:
        yield "RUN", str(command)


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


def _read_command(
    words: Sequence[str], folder: Path, found: BuildLines, shell: dict[str, str]
) -> None:
    """Read one command. `shell` has the variables of the shell, and gets those that it sets."""
    if words[0] == "export" or all(map(_ASSIGNMENT.match, words)):
        for word in words:
            name, is_pair, text = word.partition("=")
            if is_pair:
                shell[name] = expand(text, shell)
                _read_index(name, shell[name], found)
        return
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _PREFIXES):
        name, _, text = words[0].partition("=")
        _read_index(name, expand(text, shell), found)
        words = words[1:]
    if not words or words[0].startswith("@nuclio."):  # a place between the lines, not a command
        return
    program = words[0].rpartition("/")[2]
    if program in _SHELLS and len(words) > 2 and _SHELL_OPTION.match(words[1]):
        for inner in split_commands(plain(expand(words[2], shell))):
            _read_command(inner, folder, found, shell)
        return
    words = [part for word in words for part in expand_word(word, shell)]
    if not words:
        return
    program = words[0].rpartition("/")[2]
    if program in _CONDA and words[1:2] == ["run"]:  # a command in an environment of conda
        starts = [at for at, word in enumerate(words) if _PIP.match(word) or _PYTHON.match(word)]
        words = words[starts[0] :] if starts else words
        program = words[0]
    if _PYTHON.match(program) and words[1:3] == ["-m", "pip"]:
        program, words = "pip", words[2:]
    if program == "uv" and words[1:2] == ["pip"]:
        program, words = "pip", words[1:]
    if _PIP.match(program):
        read_pip(words[1:], folder, found)
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


def _read_system_packages(line: str, words: list[str], found: BuildLines) -> None:
    if not {"install", "add"}.intersection(words):
        return
    named = [word for word in words if not word.startswith("-") and word not in ("install", "add")]
    missing = [name for name in named if not _TOOLS.match(name)]
    if missing:
        found.not_run.append(
            f"{line} is not run: install {', '.join(missing)} on the runtime's machine"
        )


def _read_index(name: str, text: str, found: BuildLines) -> None:
    """Add the indexes of one of pip's variables to the requirements."""
    if name not in _INDEX_VARIABLES:
        return
    if has_variable(text):
        found.not_run.append(
            f"{name}={text} is not set: {why_unknown(text)}, write --extra-index-url in "
            "requirements.txt"
        )
    else:
        found.requirements += [f"--extra-index-url {url}" for url in text.split()]


def _read_variables(kind: str, value: str, known: dict[str, str], found: BuildLines) -> None:
    """Read the variables of a line. Those of ARG exist only while the image is built."""
    value = mark_dollars(value)
    try:
        words = shlex.split(value)
    except ValueError:
        words = [value]
    if kind == "ENV" and words and "=" not in words[0]:  # the older form: ENV NAME some words
        name, _, rest = value.partition(" ")
        words = [f"{name}={rest.strip()}"]
    for word in words:
        name, is_pair, text = word.partition("=")
        # In NAME=$NAME:more, NAME is empty before its first line, as in an image without it.
        text = expand(text, {name: "", **known})
        if not is_pair:
            continue  # an argument without a default
        _read_index(name, text, found)
        if name == "PATH":
            continue
        for_workers = kind == "ENV" and not name.startswith("PIP_")
        if is_replaced_in_image(text):
            if for_workers:
                found.not_run.append(
                    f"ENV {name}={text} is not set: {why_unknown(text)}, write it in spec.env"
                )
        elif kind == "ENV":
            known[name] = text
            if for_workers:
                found.variables.append((name, text))
        elif name not in dict(found.variables):  # as in Docker, ENV has precedence over ARG
            known[name] = text
