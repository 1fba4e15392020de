"""Arguments of ``pip install`` in the lines of an image, as lines of a requirements file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.spec.shell_words import LITERAL, has_variable, why_unknown

_OPT_NUCLIO: Final = "/opt/nuclio"
_ARCHIVE: Final = re.compile(r"\.(whl|zip|tar\.gz)$")
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
_OPENCV: Final = re.compile(r"^opencv(-contrib)?-python(?=$|[\[<>=!~ ;])", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class BuildLines:
    """The packages and variables that ``spec.build`` sets up."""

    requirements: list[str] = field(default_factory=list)  # lines of a requirements file
    variables: list[tuple[str, str]] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)  # a sentence a line that has no effect here


def read_pip(words: list[str], folder: Path, found: BuildLines) -> None:
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
        given = word if value in word else f"{word} {value}"
        # A plain $ may be a part of a URL, for example of a password.
        if has_variable(given) or (LITERAL in given and "://" not in given):
            found.not_run.append(
                f"pip install {given} is not run: {why_unknown(given)},"
                " write it in requirements.txt"
            )
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
    path = inside(value)
    if (folder / path).is_file():
        found.requirements.append(f"{option} {path}")
    else:
        found.not_run.append(f"pip install {option} {value} is not run: the folder has no {path}")


def _add_requirement(word: str, folder: Path, found: BuildLines, prefix: str = "") -> None:
    is_url = "://" in word or word.startswith("git+")
    if word.startswith((".", "/")) or (not is_url and _is_path(word, editable=bool(prefix))):
        path = inside(word)
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


def inside(path: str) -> str:
    """Return a path of an image relative to the function's folder."""
    if is_opt_nuclio(path):
        path = path[len(_OPT_NUCLIO) :]
    return path.removeprefix("./").strip("/")


def is_opt_nuclio(path: str) -> bool:
    return path == _OPT_NUCLIO or path.startswith(_OPT_NUCLIO + "/")
