"""The body of a call to a tracker: shapes and states in, shapes and states out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from common.boxes import clip
from common.errors import BadInput
from common.images import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Floats = NDArray[np.float64]

MAX_COORDINATE = 1e6  # pixels

Target = TypeVar("Target")


class Tracker(Protocol[Target]):
    """A model that follows objects. A target is what it knows of one object."""

    min_side: float  # of a box to start from, pixels
    state_version: int  # changes when old states cannot be read any more

    def start(self, image: Image, boxes: Sequence[Floats]) -> list[Target]:
        """Return a target for each box (x0, y0, x1, y1 in pixels)."""

    def follow(self, image: Image, targets: Sequence[Target]) -> list[Target]:
        """Return each target at its position on the next image."""

    def box(self, target: Target) -> Floats:
        """Return the target's box in pixels; it may reach beyond the image."""

    def write_state(self, target: Target) -> dict[str, Any]:
        """Return the target as JSON."""

    def read_state(self, state: dict[str, Any], name: str) -> Target:
        """Return the target of `write_state`; raise BadInput, naming ``name``, if damaged."""


def track(body: dict[str, Any], tracker: Tracker[Target]) -> dict[str, Any]:
    """Answer ``{"shapes": [...], "states": [...]}``, one of each per object, in the order sent.

    An object with a state is followed. An object with a shape only is started there. All objects
    of a call run as one batch. A state is JSON: it holds numbers only, nothing is executed when
    it is read.
    """
    pairs = list(zip_longest(_read_list(body, "shapes"), _read_list(body, "states")))
    if not pairs:
        raise BadInput("'shapes' and 'states' are empty; send the objects to track")
    image = decode_image(body.get("image"))
    height, width = image.shape[:2]
    followed = {
        number: _read_state(state, f"states[{number}]", tracker)
        for number, (_, state) in enumerate(pairs)
        if state is not None
    }
    started = {
        number: _read_shape(shape, f"shapes[{number}]", image, tracker.min_side)
        for number, (shape, state) in enumerate(pairs)
        if state is None
    }
    targets = {
        **dict(zip(started, tracker.start(image, list(started.values())), strict=True)),
        **dict(zip(followed, tracker.follow(image, list(followed.values())), strict=True)),
    }
    ordered = [targets[number] for number in range(len(pairs))]
    # Only the answer is cut at the image's borders: the state keeps what lies beyond.
    boxes = clip(np.array([tracker.box(target) for target in ordered]), width=width, height=height)
    return {
        "shapes": [
            {"type": "rectangle", "points": [round(float(value), 2) for value in box]}
            for box in boxes
        ],
        "states": [
            {"version": tracker.state_version, **tracker.write_state(target)} for target in ordered
        ],
    }


def read_numbers(value: object, name: str, *, count: int) -> Floats:
    """Return a list of ``count`` coordinates; raise BadInput, naming ``name``, if it is none."""
    numbers: list[Any] = value if isinstance(value, list) and len(value) == count else [None]
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in numbers):
        raise BadInput(f"'{name}' is not a list of {count} numbers")
    if not all(abs(each) <= MAX_COORDINATE for each in numbers):  # also false for NaN
        raise BadInput(f"'{name}' holds a number that is not a coordinate")
    return np.array(numbers, dtype=np.float64)


def _read_list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise BadInput(f"'{name}' is not a list")
    return value or []


def _read_shape(shape: object, name: str, image: Image, min_side: float) -> Floats:
    """Return the box of ``{"type": "rectangle", "points": [...]}`` or of four bare numbers.

    CVAT sends bare numbers to functions that declare no shape types. The corners may come in any
    order. BadInput is raised when the box is too small or nothing of it lies on the image.
    """
    if shape is None:
        raise BadInput(f"'{name}' is empty and has no state; send a shape or a state")
    if isinstance(shape, dict):
        if shape.get("type") != "rectangle":
            raise BadInput(f"'{name}' is of type {shape.get('type')!r}; send a rectangle")
        shape, name = shape.get("points"), f"{name}.points"
    sent = read_numbers(shape, name, count=4)
    box = np.concatenate([np.minimum(sent[:2], sent[2:]), np.maximum(sent[:2], sent[2:])])
    if (box[2:] - box[:2] < min_side).any():
        raise BadInput(
            f"'{name}' is less than {min_side:g} px wide or high; draw a larger rectangle"
        )
    height, width = image.shape[:2]
    if (box[2:] <= 0).any() or (box[:2] >= [width, height]).any():
        raise BadInput(f"'{name}' lies outside the image")
    return box


def _read_state(state: object, name: str, tracker: Tracker[Target]) -> Target:
    if not isinstance(state, dict) or state.get("version") != tracker.state_version:
        raise BadInput(f"'{name}' is not a state of this function; send the shape instead")
    return tracker.read_state(state, name)
