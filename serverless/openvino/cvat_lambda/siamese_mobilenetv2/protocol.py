"""The tracker's wire format: shapes and states in, shapes and states out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from common.boxes import clip
from common.errors import BadInput
from common.images import decode_image
from common.state import pack_array, unpack_array
from model import CHANNELS, MAX_CELLS, MIN_SIDE, SiameseTracker, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATE_VERSION = 1
MAX_COORDINATE = 1e6


def track(tracker: SiameseTracker, body: dict[str, Any]) -> dict[str, Any]:
    """Answer ``{"shapes": [...], "states": [...]}``, one of each an object, in the order sent.

    An object with a state is followed; one with a shape only is started. All objects of a call
    go through the network as one batch.
    """
    shapes, states = _lists(body)
    image = decode_image(body.get("image"))
    following = {
        number: read_state(state, f"states[{number}]")
        for number, state in enumerate(states)
        if state is not None
    }
    starting = {
        number: read_rectangle(shape, f"shapes[{number}]", image)
        for number, shape in enumerate(shapes)
        if number not in following
    }
    targets = dict(zip(starting, tracker.start(image, list(starting.values())), strict=True))
    followed = tracker.follow(image, list(following.values()))
    targets.update(zip(following, followed, strict=True))
    ordered = [targets[number] for number in range(len(shapes))]
    return {
        "shapes": [
            {"type": "rectangle", "points": [round(float(value), 2) for value in box]}
            for box in _cut([target.box for target in ordered], image)
        ],
        "states": [write_state(target) for target in ordered],
    }


def _lists(body: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return shapes and states made equally long by None."""
    lists = []
    for name in ("shapes", "states"):
        value = body.get(name)
        if value is not None and not isinstance(value, list):
            raise BadInput(f"'{name}' is not a list")
        lists.append(value or [])
    length = max(map(len, lists))
    if length == 0:
        raise BadInput("'shapes' and 'states' are empty; send the objects to track")
    shapes, states = (each + [None] * (length - len(each)) for each in lists)
    return shapes, states


def read_rectangle(shape: object, name: str, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the box of a shape ``{"type": "rectangle", "points": [x0, y0, x1, y1]}``."""
    if not isinstance(shape, dict):
        raise BadInput(f"'{name}' has neither a shape nor a state")
    if shape.get("type") != "rectangle":
        raise BadInput(f"'{name}' is a {shape.get('type')}; this tracker follows rectangles")
    box = _numbers(shape.get("points"), 4, f"{name}.points")
    ordered = np.concatenate([np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])])
    height, width = image.shape[:2]
    outside = (ordered[2:] <= 0).any() or (ordered[:2] >= [width, height]).any()
    if outside or (ordered[2:] - ordered[:2] < MIN_SIDE).any():
        raise BadInput(f"'{name}' is outside the image or narrower than {MIN_SIDE:g} pixels")
    return ordered


def write_state(target: Target) -> dict[str, Any]:
    """Return a target as JSON: half precision is enough for its features."""
    return {
        "version": STATE_VERSION,
        "box": [round(float(value), 3) for value in target.box],
        "fill": list(target.fill),
        "kernels": [pack_array(kernel, "float16") for kernel in target.kernels],
    }


def read_state(state: object, name: str) -> Target:
    """Return the target of a state made by `write_state`; BadInput when it is damaged."""
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise BadInput(f"'{name}' is not a state of this tracker; start the object again")
    box = _numbers(state.get("box"), 4, f"{name}.box")
    if (box[2:] - box[:2] < MIN_SIDE / 2).any():
        raise BadInput(f"'{name}.box' is empty")
    fill = _numbers(state.get("fill"), 3, f"{name}.fill").clip(0, 255).astype(int).tolist()
    packed = state.get("kernels")
    if not isinstance(packed, list) or len(packed) != len(CHANNELS):
        raise BadInput(f"'{name}.kernels' is not a list of {len(CHANNELS)} arrays")
    kernels = [unpack_array(each, name=f"{name}.kernels") for each in packed]
    for kernel, channels, cells in zip(kernels, CHANNELS, MAX_CELLS, strict=True):
        fits = kernel.ndim == 3 and kernel.shape[0] == channels and kernel.size > 0
        if not fits or max(kernel.shape[1:]) > cells or not np.isfinite(kernel).all():
            raise BadInput(f"'{name}.kernels' does not fit this tracker; start the object again")
    return Target(
        box=box, kernels=tuple(kernel.astype(np.float32) for kernel in kernels), fill=tuple(fill)
    )


def _cut(boxes: list[NDArray[np.float64]], image: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Return the boxes cut at the picture; the states keep what lies beyond."""
    height, width = image.shape[:2]
    return clip(np.array(boxes), width=width, height=height)


def _numbers(value: object, count: int, name: str) -> NDArray[np.float64]:
    numbers: list[Any] = value if isinstance(value, list) and len(value) == count else [None]
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in numbers):
        raise BadInput(f"'{name}' is not a list of {count} numbers")
    if not all(abs(each) <= MAX_COORDINATE for each in numbers):  # also false for NaN
        raise BadInput(f"'{name}' holds a number that is no coordinate")
    return np.array(numbers, dtype=np.float64)
