"""New function folders: a template of a kind, or a ready function for a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.scaffold import (
    huggingface,
    native,
    onnx_detr,
    origin,
    torchvision,
    yolo,
)
from cvat_lambda.runtime.scaffold.kinds import KINDS, new_function
from cvat_lambda.runtime.scaffold.native import as_subcommand

__all__ = ["KINDS", "add_new_arguments", "as_subcommand", "new_folder", "new_function"]

_FAMILIES: Final = {
    "huggingface": huggingface,
    "onnx-detr": onnx_detr,
    "torchvision": torchvision,
    "yolo": yolo,
}


def add_new_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``new``."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind in KINDS:
        help_text = f"a {kind} to be filled with your code"
        _add_common(kinds.add_parser(kind, help=help_text, description=help_text))
    for name, family in _FAMILIES.items():
        added = kinds.add_parser(name, help=family.HELP, description=family.HELP)
        _add_common(added)
        family.add_arguments(added)
        added.add_argument(
            "--update",
            action="store_true",
            help="write a folder anew that an earlier call made, after another training",
        )
    native.add_arguments(kinds.add_parser("native", help=native.HELP, description=native.HELP))


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the id of the function, and the name of the folder")
    parser.add_argument("--into", type=Path, default=Path(), help="the folder to write it into")


def new_folder(options: Mapping[str, Any]) -> Path:
    """Write the folder that the arguments of ``new`` describe and return it.

    Raise RuntimeFault if they cannot be used; nothing is written then.
    """
    if options["kind"] == "native":
        return native.write(options)
    family = _FAMILIES.get(options["kind"])
    if family is None:
        return new_function(options["kind"], options["name"], options["into"])
    written: Path = family.write(options)
    origin.record(written, options)
    return written
