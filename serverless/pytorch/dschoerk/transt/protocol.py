"""The tracker's wire format: shapes and states in, shapes and states out."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from common.errors import BadInput
from common.images import decode_image
from common.state import pack_array, unpack_array
from model import TEMPLATE_SIDE, Target, Tracker, rectangle

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATE_VERSION = 1
SMALLEST_START = 1.0  # side of a box to start from, pixels
LARGEST = 1e6  # coordinate, pixels


def track(tracker: Tracker, body: dict[str, Any]) -> dict[str, Any]:
    """Answer ``{"shapes": [...], "states": [...]}``, one of each an object, in the order sent.

    An object with a state is followed; one with a shape only is started where it is. A state is
    JSON: numbers and the raw bytes of the object's first look, nothing that could be executed.
    """
    pairs = list(zip_longest(_list(body, "shapes"), _list(body, "states")))
    if not pairs:
        raise BadInput("'shapes' and 'states' are empty; send the objects to track")
    image = decode_image(body.get("image"))
    height, width = image.shape[:2]
    followed = {
        number: read_state(state, f"states[{number}]")
        for number, (_, state) in enumerate(pairs)
        if state is not None
    }
    started = {
        number: read_shape(shape, f"shapes[{number}]", width=width, height=height)
        for number, (shape, state) in enumerate(pairs)
        if state is None
    }
    targets = {
        **dict(zip(started, tracker.start(image, list(started.values())), strict=True)),
        **dict(zip(followed, tracker.follow(image, list(followed.values())), strict=True)),
    }
    ordered = [targets[number] for number in range(len(pairs))]
    return {
        "shapes": [
            {"type": "rectangle", "points": rectangle(target, width=width, height=height)}
            for target in ordered
        ],
        "states": [write_state(target) for target in ordered],
    }


def read_shape(shape: object, name: str, *, width: int, height: int) -> NDArray[np.float64]:
    """Return the box of ``{"type": "rectangle", "points": [...]}`` or of four bare numbers.

    CVAT sends bare numbers to functions that declare no shape types. The corners may come in any
    order; BadInput when nothing of the box lies on the picture.
    """
    if isinstance(shape, dict):
        if shape.get("type") != "rectangle":
            raise BadInput(f"'{name}' is of type {shape.get('type')!r}; send a rectangle")
        shape = shape.get("points")
    given = _numbers(shape, name, count=4)
    box = np.concatenate([np.minimum(given[:2], given[2:]), np.maximum(given[:2], given[2:])])
    if box[2] - box[0] < SMALLEST_START or box[3] - box[1] < SMALLEST_START:
        raise BadInput(f"'{name}' is narrower than a pixel; draw a larger rectangle")
    if (box[2:] <= 0).any() or (box[:2] >= [width, height]).any():
        raise BadInput(f"'{name}' lies outside the image")
    return box


def write_state(target: Target) -> dict[str, Any]:
    """Return what is needed to follow a target on the next image, as JSON."""
    return {
        "version": STATE_VERSION,
        "centre": list(target.centre),
        "size": list(target.size),
        "fill": list(target.fill),
        "template": pack_array(target.template, "uint8"),
    }


def read_state(state: object, name: str) -> Target:
    """Read what `write_state` made; BadInput when it is damaged."""
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise BadInput(f"'{name}' is not a state of this function; send the shape instead")
    template = unpack_array(state.get("template"), name=f"{name}.template")
    if template.shape != (TEMPLATE_SIDE, TEMPLATE_SIDE, 3) or template.dtype != np.uint8:
        raise BadInput(f"'{name}.template' has shape {template.shape}; send the shape instead")
    centre = _numbers(state.get("centre"), f"{name}.centre", count=2)
    size = _numbers(state.get("size"), f"{name}.size", count=2)
    fill = _numbers(state.get("fill"), f"{name}.fill", count=3).clip(0, 255)
    if (size <= 0).any():
        raise BadInput(f"'{name}.size' is not positive; send the shape instead")
    return Target(
        centre=(float(centre[0]), float(centre[1])),
        size=(float(size[0]), float(size[1])),
        template=template,
        fill=(int(fill[0]), int(fill[1]), int(fill[2])),
    )


def _numbers(value: object, name: str, *, count: int) -> NDArray[np.float64]:
    """Return a list of so many finite numbers; BadInput, naming it, when it is none."""
    given: list[Any] = value if isinstance(value, list) and len(value) == count else [None]
    if any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in given):
        raise BadInput(f"'{name}' is not a list of {count} numbers")
    if not all(abs(one) <= LARGEST for one in given):  # false for NaN as well
        raise BadInput(f"'{name}' holds a number that is no coordinate")
    return np.array(given, dtype=np.float64)


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput(f"'{name}' is not a list")
    return value
