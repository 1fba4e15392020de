"""The start of a worker process. The function's own interpreter runs this file by its path.

The worker's package is imported under another name, and this folder is removed from ``sys.path``,
because a function may have modules named ``frames`` or ``serve``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

_PACKAGE = "cvat_lambda_worker"


def main() -> int:
    """Load the worker's package and serve until the processor closes the socket."""
    here = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, here / "__init__.py", submodule_search_locations=[str(here)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no worker package at {here}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    serve = importlib.import_module(f"{_PACKAGE}.serve")
    return int(serve.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
