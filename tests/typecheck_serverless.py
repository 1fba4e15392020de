"""``python -m tests.typecheck_serverless [FOLDER ...]``: run mypy for each function folder.

Every folder has its own modules `main` and `model`, so mypy runs once per folder. `common` is
checked once, and shared by mypy's cache. The frameworks (PyTorch, OpenVINO, ...) are installed in
the functions' environments only, so their types are unknown here. All else is strict.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mypy import api

REPOSITORY: Final = Path(__file__).resolve().parent.parent
SERVERLESS: Final = REPOSITORY / "serverless"
OPTIONS: Final = (
    "--strict",
    "--config-file=",
    "--python-version=3.10",
    "--ignore-missing-imports",
    "--no-namespace-packages",  # else serverless/onnx would be the package onnx
    # Values of frameworks are Any here. Classes may inherit from them, functions may return them.
    "--allow-subclassing-any",
    "--allow-untyped-decorators",
    "--allow-untyped-calls",
    "--no-warn-return-any",
    "--no-warn-unused-ignores",
    "--no-error-summary",
    f"--cache-dir={REPOSITORY / '.mypy_cache' / 'serverless'}",
)


def main(arguments: Sequence[str]) -> int:
    """Check `common` and the given folders, or all. Return 1 if one has errors."""
    folders = [Path(each).resolve() for each in arguments] or function_folders()
    failed = [folder for folder in (SERVERLESS / "common", *folders) if not is_clean(folder)]
    for folder in failed:
        print(f"{os.path.relpath(folder, REPOSITORY)} has errors of types", file=sys.stderr)
    print(f"types of {len(folders)} function folders: {len(failed)} with errors")
    return 1 if failed else 0


def function_folders() -> list[Path]:
    """Return every folder below serverless/ that has a function.yaml."""
    return sorted(path.parent for path in SERVERLESS.rglob("function.yaml"))


def is_clean(folder: Path) -> bool:
    """Check the modules of one folder. Print the errors."""
    # `common` is a link in each folder. This path comes first, so that all use one package.
    paths = [SERVERLESS] if folder.name == "common" else [SERVERLESS, folder]
    os.environ["MYPYPATH"] = os.pathsep.join(map(str, paths))
    targets = ["-p", "common"] if folder.name == "common" else modules_of(folder)
    found, failure, status = api.run([*OPTIONS, *targets])
    print(found + failure, end="")
    return status == 0


def modules_of(folder: Path) -> list[str]:
    """Return the Python files of a folder and its packages, without the link to `common`."""
    return [
        str(path)
        for path in sorted(folder.rglob("*.py"))
        if "common" not in path.relative_to(folder).parts
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
