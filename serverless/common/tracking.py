"""The body of a call to a tracker: shapes and states in, shapes and states out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from common.boxes import clip
from common.errors import BadInput, StateUnknown
from common.images import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Floats = NDArray[np.float64]

MAX_COORDINATE = 1e6  # pixels
MAX_FRAMES = 16  # of a clip; function.yaml announces it as max_frames

Target = TypeVar("Target")


class Tracker(Protocol[Target]):
    """A model that follows objects. A target is what it knows of one object."""

    state_version: int  # changes when old states cannot be read any more

    def read_shape(self, shape: object, name: str, image: Image) -> Any:
        """Return where an object starts; raise BadInput, naming ``name``, if it cannot start."""

    def start(self, image: Image, starts: Sequence[Any]) -> list[Target]:
        """Return a target for each result of `read_shape`."""

    def follow(self, image: Image, targets: Sequence[Target]) -> list[Target]:
        """Return each target at its position on the next image."""

    def shapes(self, image: Image, targets: Sequence[Target]) -> list[dict[str, Any] | None]:
        """Return each target's shape on the image, or None where the object is lost."""

    def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Return the targets as a later call gets them from their states."""

    def write_state(self, target: Target) -> dict[str, Any]:
        """Return the target as JSON."""

    def read_state(self, state: dict[str, Any], name: str) -> Target:
        """Return the target of `write_state`.

        Raises BadInput, naming ``name``, if it is damaged; StateUnknown if it is not in memory.
        """


class BoxTracker(Tracker[Target]):
    """The parts that trackers of rectangles have in common."""

    min_side: float  # of a box to start from, pixels

    def box(self, target: Target) -> Floats:
        """Return the target's box in pixels; it may reach beyond the image."""
        raise NotImplementedError

    def read_shape(self, shape: object, name: str, image: Image) -> Floats:
        """Return the box of a rectangle (x0, y0, x1, y1 in pixels)."""
        return read_rectangle(shape, name, image, self.min_side)

    def shapes(self, image: Image, targets: Sequence[Target]) -> list[dict[str, Any] | None]:
        """Return the boxes of the targets, cut at the image's borders. The states keep the rest."""
        height, width = image.shape[:2]
        boxes = clip(np.array([self.box(each) for each in targets]), width=width, height=height)
        return [
            {"type": "rectangle", "points": [round(float(value), 2) for value in box]}
            for box in boxes
        ]

    def settled(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Return the targets with rounded numbers, as a state has them."""
        return [self.read_state(self.write_state(target), "") for target in targets]


def track(body: dict[str, Any], tracker: Tracker[Target]) -> dict[str, Any]:
    """Answer ``{"shapes": [...], "states": [...]}``, one of each per object, in the order sent.

    An object with a state is followed. An object with a shape only is started there. All objects
    of a call run as one batch. A state is JSON: it holds numbers only, nothing is executed when
    it is read.

    A body with ``images`` is a clip of consecutive frames, at most MAX_FRAMES. Its answer has
    ``results``, the shapes of each frame, and the states after the last one. The answer to a clip
    equals the answers to single calls. A frame that cannot be read gives ``{"error": sentence}`` in
    its position, unless objects start on it.
    """
    is_clip = "images" in body
    encoded = _read_images(body) if is_clip else [body.get("image")]
    pairs = list(zip_longest(_read_list(body, "shapes"), _read_list(body, "states")))
    if not pairs:
        raise BadInput("'shapes' and 'states' are empty; send the objects to track")
    starts = any(state is None for _, state in pairs)
    targets: list[Target] = []
    results: list[Any] = []
    for number, each in enumerate(encoded):
        try:
            field = f"images[{number}]" if is_clip else "image"
            image = decode_image(each, field=field)
        except BadInput as error:
            if not is_clip or (starts and number == 0):
                raise
            results.append({"error": str(error)})
            continue
        if targets:
            targets = tracker.follow(image, tracker.settled(targets))
        else:
            targets = _first_targets(pairs, image, tracker)
        results.append(tracker.shapes(image, targets))
    if not targets:  # no image could be read: the objects are where they were
        return {"results": results, "states": [state for _, state in pairs]}
    states = [_write_state(target, tracker) for target in targets]
    return {
        "results" if is_clip else "shapes": results if is_clip else results[0],
        "states": states,
    }


def _first_targets(
    pairs: Sequence[tuple[Any, Any]], image: Image, tracker: Tracker[Target]
) -> list[Target]:
    """Return the targets of all objects on the first image: followed there, or started."""
    followed: dict[int, Target] = {}
    started: dict[int, Any] = {}
    unknown: list[int] = []
    for number, (shape, state) in enumerate(pairs):
        if state is None:
            started[number] = tracker.read_shape(shape, f"shapes[{number}]", image)
            continue
        try:
            followed[number] = _read_state(state, f"states[{number}]", tracker)
        except StateUnknown:
            unknown.append(number)
    if unknown:
        raise StateUnknown(unknown)
    targets: dict[int, Target] = {}
    if started:
        targets |= zip(started, tracker.start(image, list(started.values())), strict=True)
    if followed:
        targets |= zip(followed, tracker.follow(image, list(followed.values())), strict=True)
    return [targets[number] for number in range(len(pairs))]


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


def read_rectangle(shape: object, name: str, image: Image, min_side: float) -> Floats:
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


def _read_images(body: dict[str, Any]) -> list[Any]:
    """Return the encoded images of a clip."""
    images = body["images"]
    if not isinstance(images, list) or not images:
        raise BadInput("'images' is not a list of images in base64")
    if len(images) > MAX_FRAMES:
        raise BadInput(f"'images' has {len(images)} entries; at most {MAX_FRAMES} fit a call")
    return images


def _write_state(target: Target, tracker: Tracker[Target]) -> dict[str, Any]:
    return {"version": tracker.state_version, **tracker.write_state(target)}


def _read_state(state: object, name: str, tracker: Tracker[Target]) -> Target:
    if not isinstance(state, dict) or state.get("version") != tracker.state_version:
        raise BadInput(f"'{name}' is not a state of this function; send the shape instead")
    return tracker.read_state(state, name)
