"""``new onnx-detr``: a function for a detection transformer in an ONNX file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.scaffold import labels as label_names
from cvat_lambda.runtime.scaffold.model_folder import ModelFolder
from cvat_lambda.runtime.scaffold.model_folder import write as write_folder
from cvat_lambda.runtime.scaffold.onnx_file import read_onnx
from cvat_lambda.runtime.scaffold.weights_argument import add_weights_arguments, given_weights

HELP: Final = "a function for DETR, RT-DETR, D-FINE, DEIM or RF-DETR (ONNX file); no code to write"
_SIDE: Final = 640  # pixels, of a network that takes any size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this family."""
    add_weights_arguments(parser, example="model.onnx")
    parser.add_argument(
        "--labels", metavar="NAMES|FILE", help="names of the classes, if the file states none"
    )
    parser.add_argument(
        "--scores",
        choices=("sigmoid", "softmax"),
        default="sigmoid",
        help="softmax for DETR, whose last class means nothing (default: sigmoid)",
    )
    parser.add_argument(
        "--normalise",
        choices=("none", "imagenet"),
        default="none",
        help="imagenet for DETR and RF-DETR, whose input has ImageNet's mean subtracted",
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="where a call has none")


def write(options: Mapping[str, Any]) -> Path:
    """Write the folder and return it; raise RuntimeFault."""
    if not 0 <= options["threshold"] <= 1:
        raise RuntimeFault("--threshold must be from 0 to 1")
    with given_weights(options) as weights:
        assert weights.path is not None
        file = read_onnx(weights.path)
        if options["labels"] is not None:
            names = label_names.read_labels(options["labels"])
        elif "names" in file.metadata:
            names = label_names.check_labels(label_names.names_in(file.metadata["names"]))
        else:
            raise RuntimeFault(f"{weights.file} does not name its classes: give them with --labels")
        settings = {
            "weights": weights.file,
            "labels": list(names),
            "size": [_SIDE, _SIDE],
            "scores": options["scores"],
            "normalise": options["normalise"] == "imagenet",
            "threshold": options["threshold"],
        }
        model = ModelFolder(
            name=options["name"],
            parent=options["into"],
            description=f"A detection transformer with {len(names)} classes",
            command=f"python -m cvat_lambda.runtime new onnx-detr {options['name']} --weights FILE",
            decoder="detr",
            requirements="onnx",
            labels=[{"name": name, "type": "rectangle"} for name in names],
            settings=settings,
            weights=[weights],
            annotations={"framework": "onnx", "max_batch": "8"},
        )
        return write_folder(model, update=options["update"])
