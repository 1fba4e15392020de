"""``new torchvision``: a function for a detection model of torchvision."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.scaffold import labels as label_names
from cvat_lambda.runtime.scaffold.model_folder import COMMON, ModelFolder, Weights
from cvat_lambda.runtime.scaffold.model_folder import write as write_folder
from cvat_lambda.runtime.scaffold.weights_argument import add_weights_arguments, given_weights

HELP: Final = "a function for a detection model of torchvision; no code to write"
# Model -> the first digits of the SHA-256 of its official weights, which stand in the file's name.
_OFFICIAL: Final = {
    "fasterrcnn_resnet50_fpn": "258fb6c6",
    "fasterrcnn_resnet50_fpn_v2": "dd69338a",
    "fcos_resnet50_fpn": "99b0c9b7",
    "keypointrcnn_resnet50_fpn": "fc266e95",
    "maskrcnn_resnet50_fpn": "bf2d0c1e",
    "maskrcnn_resnet50_fpn_v2": "73cbd019",
    "retinanet_resnet50_fpn": "eeacb38b",
    "retinanet_resnet50_fpn_v2": "5905b1c5",
    "ssd300_vgg16": "b556d3b4",
    "ssdlite320_mobilenet_v3_large": "a79551df",
}
_URL: Final = "https://download.pytorch.org/models/{model}_coco-{digits}.pth"
_COCO_UNUSED: Final = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})  # of COCO's ids 1 to 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this family."""
    parser.add_argument("--model", required=True, choices=tuple(_OFFICIAL), metavar="MODEL")
    add_weights_arguments(parser, example="model.pth, a state_dict", required=False)
    parser.add_argument(
        "--labels",
        metavar="NAMES|FILE",
        help="names of the classes from number 1; 0 is the background (default: COCO's)",
    )
    parser.add_argument(
        "--keypoints", metavar="NAMES", help="names of the points (default: COCO's)"
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="where a call has none")


def write(options: Mapping[str, Any]) -> Path:
    """Write the folder and return it; raise RuntimeFault."""
    if not 0 <= options["threshold"] <= 1:
        raise RuntimeFault("--threshold must be from 0 to 1")
    name = options["model"]
    if options["weights"] is None:
        if options["labels"] is not None:
            raise RuntimeFault(
                "the official weights find COCO's classes: add --weights, or remove --labels"
            )
        source = nullcontext(_official(name))
    else:
        source = given_weights(options)  # type: ignore[assignment]
    with source as weights:
        return write_folder(_model(options, name, weights), update=options["update"])


def _official(name: str) -> Weights:
    digits = _OFFICIAL[name]
    url = _URL.format(model=name, digits=digits)
    return Weights(
        file=url.rpartition("/")[2],
        url=url,
        sha256=digits,
        checksum="sha256_prefix",
        licence="BSD-3-Clause",
    )


def _model(options: Mapping[str, Any], name: str, weights: Weights) -> ModelFolder:
    is_pose = name.startswith("keypointrcnn")
    if options["labels"] is not None:
        labels: list[str | None] = [None, *label_names.read_labels(options["labels"])]
    else:
        labels = [None, "person"] if is_pose else _coco()
    settings = {
        "model": name,
        "weights": weights.file,
        "labels": labels,
        "threshold": options["threshold"],
    }
    names: Sequence[str] = [label for label in labels if label is not None]
    kind = "mask" if name.startswith("maskrcnn") else "rectangle"
    shown: list[dict[str, Any]] = [{"name": label, "type": kind} for label in names]
    if is_pose:
        points = label_names.COCO_KEYPOINTS
        if options["keypoints"] is not None:
            points = label_names.read_labels(options["keypoints"])
        settings["keypoints"] = list(points)
        shown = [label_names.skeleton(label, points) for label in names]
    return ModelFolder(
        name=options["name"],
        parent=options["into"],
        description=f"{name} of torchvision with {len(names)} classes",
        command=(
            f"python -m cvat_lambda.runtime new torchvision {options['name']} --model {name} "
            "--weights FILE"
        ),
        decoder="torchvision_models",
        requirements="torchvision",
        labels=shown,
        settings=settings,
        weights=[weights],
        annotations={"framework": "pytorch", "max_batch": "8"},
    )


def _coco() -> list[str | None]:
    """Return COCO's classes by their ids from 0 to 90."""
    tree = ast.parse((COMMON / "coco.py").read_text(encoding="utf-8"))
    [value] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "COCO_80"
    ]
    assert value is not None
    names = iter(ast.literal_eval(value))
    return [None if number == 0 or number in _COCO_UNUSED else next(names) for number in range(91)]
