"""The command line of the demo.

Only the standard library is imported: ``script/demo`` checks its arguments with this module before
it makes an environment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cvat_lambda.server.arguments import count, folder, port, share
from cvat_lambda.server.function_folders import function_ids
from cvat_lambda.server.home import REPOSITORY, is_checkout

PERSON_DETECTOR = "openvino-ssdlite-person"
PHOTOGRAPHS = Path(__file__).resolve().parent / "photographs"
DESCRIPTION = """\
Start a standalone server on loopback, make a task from photographs, annotate it with a function in
the background, and write the photographs with the annotations drawn on them into a folder."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line. Exit with a message and status 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="script/demo" if is_checkout() else "python -m cvat_lambda.server.demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shipped = REPOSITORY / "serverless" if is_checkout() else None
    if shipped is not None:
        parser.epilog = "functions:\n  " + "\n  ".join(function_ids(shipped))
    _add_options(parser, shipped)
    options = parser.parse_args(arguments)
    if options.functions is None:
        parser.error("--functions FOLDER is needed: an installed wheel holds no function folders")
    known = function_ids(options.functions)
    if options.function not in known:
        listed = "\n  ".join(known) or "(none)"
        parser.error(
            f"there is no function '{options.function}' below {options.functions}."
            f" Functions:\n  {listed}"
        )
    return options


def _add_options(parser: argparse.ArgumentParser, shipped: Path | None) -> None:
    add = parser.add_argument
    add("--once", action="store_true", help="annotate the photographs, then stop the server")
    add("--minimal", action="store_true", help="serve the chosen function only")
    add(
        "--function",
        default=PERSON_DETECTOR,
        metavar="ID",
        help=f"the detector to run (default {PERSON_DETECTOR})",
    )
    add(
        "--functions",
        type=folder,
        default=shipped,
        metavar="FOLDER",
        help="the folder with the functions to serve",
    )
    add("--images", type=folder, default=PHOTOGRAPHS, metavar="FOLDER", help="your own photographs")
    add("--output", type=folder, metavar="FOLDER", help="the folder for the drawn photographs")
    add("--threshold", type=share, help="lowest confidence, 0 to 1")
    add("--port", type=port, default=8080, help="port of the web pages (default 8080)")
    add(
        "--platform-port",
        type=port,
        default=8070,
        help="port of the function runtime (default 8070)",
    )
    add("--workers", type=count, default=1, help="number of RQ worker processes (default 1)")


if __name__ == "__main__":
    parse()
    sys.exit(0)
