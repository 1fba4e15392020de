"""Local packages in requirements. Their content decides which environment is used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cvat_lambda.runtime.paths import digest, file_digest, files_below

# ./folder, file.whl[extra]; python_version < "3.12", name @ file:///..., -e folder, -f folder
_PATH: Final = re.compile(
    r"""^\s* (?P<option> (?:-e|--editable|-f|--find-links)[\s=]+ )?
        (?: [\w.-]+ (?:\[[^\]]*\])? \s*@\s* )?  (?P<url> file:(?://(?:localhost)?)? )?
        (?P<path> [^\s;\[\]]+ )""",
    re.X,
)


def local_packages(requirements: Iterable[str], folder: Path) -> list[str]:
    """Return hashes of the files and folders that lines of requirements name.

    Paths are relative to `folder`. The path of an editable package counts too, because the package
    is used at that path.
    """
    found: list[str] = []
    for line in (line for text in requirements for line in text.splitlines()):
        match = _PATH.match(line)
        if match is None:
            continue
        option, url, name = match["option"] or "", match["url"], match["path"].strip("'\"")
        path = folder / (unquote(name) if url else name)
        if not (option or url or "/" in name or name.startswith(".") or path.is_file()):
            continue  # a published package, even if a folder has its name
        if path.exists():
            is_editable = option.startswith(("-e", "--editable"))
            found.append(digest(*_content(path), str(path.resolve()) if is_editable else ""))
    return found


def _content(path: Path) -> Iterable[str | bytes]:
    for file in [path] if path.is_file() else sorted(files_below(path)):
        yield file.relative_to(path).as_posix()
        yield file_digest(file)
