"""Compares answers with the contract of their kind, as CVAT 2.54 reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeGuard

Problems = Iterator[str]

_POINT_COUNTS: Final[dict[str, Callable[[int], bool]]] = {
    "rectangle": lambda count: count == 4,
    "ellipse": lambda count: count == 4,
    "polygon": lambda count: count >= 6 and count % 2 == 0,
    "polyline": lambda count: count >= 4 and count % 2 == 0,
    "points": lambda count: count >= 2 and count % 2 == 0,
    "cuboid": lambda count: count == 16,
}
_SHAPES: Final = frozenset({*_POINT_COUNTS, "mask", "skeleton", "tag"})


def read_strictly(body: bytes, *, parse: Callable[..., Any] = json.loads) -> Any:
    """Return JSON; raise ValueError for anything else, such as NaN and Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return parse(body, parse_constant=refuse)


def detector_problems(answer: Any, labels: Mapping[str, str], *, binary: bool = False) -> Problems:
    """Yield what is wrong with a detector's answer; `labels` has the type of each label.

    `binary`: it answers a binary body, and so may answer run lengths (``rle``) instead of pixels.
    """
    if not isinstance(answer, list):
        yield f"a detector answers with a list of items, this is {_kind(answer)}"
        return
    for index, item in enumerate(answer):
        where = f"item {index}"
        if not isinstance(item, dict):
            yield f"{where} is {_kind(item)}, it must be an object"
            continue
        label, shape = item.get("label"), item.get("type")
        if label not in labels:
            yield f"{where}: label {label!r} is not among the labels of its spec"
        if shape not in _SHAPES:
            yield f"{where}: type {shape!r} is not a type of shape"
        elif isinstance(label, str) and not _is_compatible(labels.get(label, ""), str(shape)):
            yield (
                f"{where}: type {shape!r} does not fit label {label!r} of type {labels[label]!r}"
            )
        confidence = item.get("confidence")
        if confidence is not None and not _is_share(confidence):
            yield f"{where}: confidence {confidence!r} must be a number from 0 to 1"
        yield from (f"{where}: {text}" for text in _shape_problems(item, binary))


def interactor_problems(answer: Any, width: int, height: int, *, binary: bool = False) -> Problems:
    """Yield what is wrong with an interactor's answer; `binary` as for `detector_problems`."""
    if not isinstance(answer, dict):
        yield f"an interactor answers with an object, this is {_kind(answer)}"
        return
    if not answer.keys() & {"mask", "rle"} and ("blob" in answer or "embedding" in answer):
        return  # an embedding without a mask
    mask = answer.get("mask")
    if binary and mask is None and answer.get("rle") is not None:
        yield from _run_length_problems(answer["rle"])
        return
    if not isinstance(mask, list):
        yield "an interactor's answer needs 'mask' (rows of 0 and 255), 'blob' or 'embedding'"
        return
    if not mask and answer.get("points") == []:
        return  # nothing was found
    rows = {len(row) if isinstance(row, list) else -1 for row in mask}
    if len(rows) != 1 or -1 in rows:
        yield "'mask' must be rows of one length"
        return
    bounds = answer.get("bounds", [0, 0, width - 1, height - 1])
    if not _are_numbers(bounds) or len(bounds) != 4:
        yield f"'bounds' must be [left, top, right, bottom], this is {bounds!r}"
        return
    left, top, right, bottom = bounds
    if (right - left + 1, bottom - top + 1) != (rows.pop(), len(mask)):
        yield f"'mask' does not fill its bounds {bounds} (both ends are inside)"
    values = {value for row in mask for value in row}
    if not values <= {0, 1} and not values <= {0, 255}:
        yield "'mask' must hold two values: 0 and 255 (or 0 and 1)"


def tracker_problems(answer: Any, objects: int) -> Problems:
    """Yield what is wrong with a tracker's answer for this number of objects."""
    if not isinstance(answer, dict):
        yield f"a tracker answers with an object, this is {_kind(answer)}"
        return
    for key in ("shapes", "states"):
        value = answer.get(key)
        if not isinstance(value, list):
            yield f"a tracker's answer needs the list {key!r}"
        elif len(value) != objects:
            yield f"{key!r} has {len(value)} items for {objects} objects"
    for index, shape in enumerate(answer.get("shapes") or []):
        points = shape.get("points") if isinstance(shape, dict) else shape
        if shape is not None and not _are_numbers(points):
            yield f"shape {index} must be null, or have points that are numbers"


def clip_problems(answer: Any, objects: int, frames: int) -> Problems:
    """Yield what is wrong with a tracker's answer to several frames."""
    if not isinstance(answer, dict):
        yield f"a tracker answers with an object, this is {_kind(answer)}"
        return
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != frames:
        yield f"the answer to {frames} images needs 'results', a list of {frames}"
        return
    for index, result in enumerate(results):
        if isinstance(result, dict) and "error" in result:
            yield f"image {index} was not used: {result['error']}"
        else:
            answered = {"shapes": result, "states": answer.get("states")}
            yield from (f"image {index}: {text}" for text in tracker_problems(answered, objects))


def reid_problems(answer: Any, boxes0: int, boxes1: int) -> Problems:
    """Yield what is wrong with a re-identification's answer."""
    if not isinstance(answer, list) or any(type(index) is not int for index in answer):
        yield "a re-identification answers with a list of whole numbers"
        return
    if len(answer) != boxes0:
        yield f"it answers with {len(answer)} numbers for {boxes0} boxes"
    if any(not -1 <= index < boxes1 for index in answer):
        yield f"its numbers must be -1 or the index of one of the {boxes1} boxes"
    taken = [index for index in answer if index != -1]
    if len(taken) != len(set(taken)):
        yield "it gives one box to two boxes"


def _shape_problems(item: dict[str, Any], binary: bool) -> Problems:
    shape = item.get("type")
    if shape == "tag":
        return
    if shape == "skeleton":
        elements = item.get("elements")
        if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
            yield "a skeleton needs the list 'elements'"
            return
        for element in elements:
            if element.get("type") != "skeleton":
                yield from (f"element: {text}" for text in _shape_problems(element, binary))
        return
    if shape == "mask":
        if binary and item.get("mask") is None and item.get("rle") is not None:
            yield from _run_length_problems(item["rle"])
        else:
            yield from _mask_problems(item.get("mask"))
        return
    points = item.get("points")
    if not _are_numbers(points):
        yield "'points' must be a flat list of finite numbers"
    elif shape in _POINT_COUNTS and not _POINT_COUNTS[shape](len(points)):
        yield f"a {shape} cannot have {len(points)} coordinates"


def _mask_problems(mask: Any) -> Problems:
    if not _are_numbers(mask) or len(mask) < 5:
        yield "'mask' must be the bitmap of its box, row by row, then the box's four coordinates"
        return
    left, top, right, bottom = mask[-4:]
    area = (right - left + 1) * (bottom - top + 1)
    if area != len(mask) - 4:
        yield f"'mask' has {len(mask) - 4} pixels for a box of {area} (both ends are inside)"
    if len(set(mask[:-4])) > 2:
        yield "'mask' must hold two values"


def _run_length_problems(values: Any) -> Problems:
    if not _are_numbers(values) or len(values) < 5:
        yield "'rle' must be run lengths, zeros first, then the box's four coordinates"
        return
    *runs, left, top, right, bottom = values
    area = (right - left + 1) * (bottom - top + 1)
    if min(runs) < 0 or min(right - left, bottom - top) < 0 or sum(runs) != area:
        yield f"'rle' has {sum(runs)} pixels for a box of {area} (both ends are inside)"


def _are_numbers(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and all(
        isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
        for each in value
    )


def _is_compatible(label_type: str, shape: str) -> bool:
    """Return whether CVAT takes a shape for a label: equal types, ``any``, or mask and polygon.

    "" is the type of a label that the function does not have.
    """
    if label_type in ("any", ""):
        return label_type == "" or shape != "skeleton"
    return label_type == shape or {label_type, shape} == {"mask", "polygon"}


def _is_share(value: Any) -> bool:
    try:
        return 0 <= float(value) <= 1
    except (TypeError, ValueError):
        return False


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), "a number")
