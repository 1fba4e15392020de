"""``new yolo``: a function for a network of the YOLO family in an ONNX file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.scaffold import labels as label_names
from cvat_lambda.runtime.scaffold.model_folder import ModelFolder, Weights
from cvat_lambda.runtime.scaffold.model_folder import write as write_folder
from cvat_lambda.runtime.scaffold.onnx_file import OnnxFile, read_onnx
from cvat_lambda.runtime.scaffold.weights_argument import add_weights_arguments, given_weights

HELP: Final = "a function for a YOLO network (YOLOv5 to 12 and 26, ONNX file); no code to write"
# Task -> the type of its labels.
_LABEL_TYPES: Final = {
    "detect": "rectangle",
    "segment": "mask",
    "pose": "skeleton",
    "obb": "rectangle",
    "classify": "tag",
}
_THRESHOLD: Final = 0.25
# Where the file states none, in pixels: sides of the input, and the largest stride of its cells.
_SIDE: Final = 640
_STRIDE: Final = 32
_MAX_SIDE: Final = 16384
_MAX_KEYPOINTS: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this family."""
    add_weights_arguments(parser, example="best.onnx")
    parser.add_argument(
        "--labels", metavar="NAMES|FILE", help="names of the classes, if the file states none"
    )
    parser.add_argument(
        "--task", choices=tuple(_LABEL_TYPES), help="what it does, if the file does not state it"
    )
    parser.add_argument("--keypoints", metavar="NAMES", help="names of a pose's points")
    parser.add_argument(
        "--threshold", type=float, default=_THRESHOLD, help="where a call has none (default: 0.25)"
    )


def write(options: Mapping[str, Any]) -> Path:
    """Write the folder and return it; raise RuntimeFault."""
    if not 0 <= options["threshold"] <= 1:
        raise RuntimeFault("--threshold must be from 0 to 1")
    with given_weights(options) as weights:
        assert weights.path is not None
        model = _model(options, weights, read_onnx(weights.path))
        return write_folder(model, update=options["update"])


def _model(options: Mapping[str, Any], weights: Weights, file: OnnxFile) -> ModelFolder:
    metadata = file.metadata
    task = options["task"] or metadata.get("task") or _guess_task(file)
    if task not in _LABEL_TYPES:
        raise RuntimeFault(f"networks for the task {task!r} are not supported")
    classes = label_names.names_in(metadata["names"]) if "names" in metadata else None
    if options["labels"] is not None:
        names = label_names.read_labels(options["labels"])
    elif classes is not None:
        names = label_names.check_labels(classes)
    else:
        raise RuntimeFault(f"{weights.file} does not name its classes: give them with --labels")
    if classes is not None and len(names) != len(classes):
        raise RuntimeFault(f"the network has {len(classes)} classes, --labels has {len(names)}")
    settings: dict[str, Any] = {
        "weights": weights.file,
        "task": task,
        "labels": list(names),
        "classes": classes,
        "size": _size(metadata),
        "threshold": options["threshold"],
    }
    kind = _LABEL_TYPES[task]
    labels: list[dict[str, Any]] = [{"name": name, "type": kind} for name in names]
    if task == "pose":
        points = _keypoints(options, metadata)
        settings["keypoints"] = list(points)
        labels = [label_names.skeleton(name, points) for name in names]
    labelled = f"{len(names)} classes" if len(names) > 1 else f"the class {names[0]!r}"
    return ModelFolder(
        name=options["name"],
        parent=options["into"],
        description=f"A YOLO network ({task}) with {labelled}",
        command=f"python -m cvat_lambda.runtime new yolo {options['name']} --weights FILE",
        decoder="yolo",
        requirements="onnx",
        labels=labels,
        settings=settings,
        weights=[weights],
        annotations={"framework": "onnx", "max_batch": "8"},
    )


def _guess_task(file: OnnxFile) -> str:
    """Return the task of a file without metadata, from the shapes of its outputs."""
    shapes = list(file.outputs.values())
    if any(len(shape) == 4 for shape in shapes):
        return "segment"
    first = shapes[0]
    return "classify" if len(first) == 2 and first[1] != 7 else "detect"


def _size(metadata: Mapping[str, str]) -> list[int]:
    """Return height and width of the input in pixels; the file's shape has precedence over it.

    They are rounded up to multiples of the stride: a network that takes any size fails with others.
    """
    stride = max(_numbers(metadata.get("stride"), default=_STRIDE))
    sides = _numbers(metadata.get("imgsz"), default=_SIDE)
    return [-(-side // stride) * stride for side in (sides[0], sides[-1])]


def _numbers(text: str | None, *, default: int) -> list[int]:
    """Return one number of pixels, or a list of them, as the exporter wrote it."""
    try:
        found = label_names.literal(text, "size") if text else default
    except RuntimeFault:
        found = default
    numbers = found if isinstance(found, (list, tuple)) else [found]
    if not numbers or not all(_is_pixels(number) for number in numbers):
        return [default]
    return list(numbers)


def _is_pixels(number: object) -> bool:
    return type(number) is int and 0 < number <= _MAX_SIDE


def _keypoints(options: Mapping[str, Any], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of a pose's points: given, in the file, COCO's, or numbers."""
    count = _count_of_keypoints(metadata["kpt_shape"]) if "kpt_shape" in metadata else None
    if options["keypoints"] is not None:
        points = label_names.read_labels(options["keypoints"])
        if count is not None and len(points) != count:
            raise RuntimeFault(f"the network has {count} points, --keypoints has {len(points)}")
        return points
    if "kpt_names" in metadata:
        named = label_names.literal(metadata["kpt_names"], "names of keypoints")
        each = next(iter(named.values()), ()) if isinstance(named, dict) else named
        if not isinstance(each, (list, tuple)):
            raise RuntimeFault("the file's names of keypoints are not a list")
        if count is None or len(each) == count:
            return label_names.check_labels([str(point) for point in each])
    if count is None:
        raise RuntimeFault("the file does not state its keypoints: name them with --keypoints")
    if count == len(label_names.COCO_KEYPOINTS):
        return label_names.COCO_KEYPOINTS
    return tuple(str(number) for number in range(1, count + 1))


def _count_of_keypoints(text: str) -> int:
    """Return the first of two numbers; the second one is that of the values of a point."""
    shape = label_names.literal(text, "number of keypoints")
    count = shape[0] if isinstance(shape, (list, tuple)) and shape else None
    if type(count) is not int or not 0 < count <= _MAX_KEYPOINTS:
        raise RuntimeFault(f"the file's number of keypoints cannot be read: {text[:80]!r}")
    return count
