"""Tracking functions of CVAT's SDK.

A function's states are objects of any type, so they stay in the worker: the caller gets their ids.
A state that the worker does not have (it was restarted, or the state is too old) is made anew from
the object's last position, on the image of the call.
"""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from cvat_sdk import auto_annotation
from PIL import Image

from common.errors import BadInput
from common.images import decode_image

KEPT_STATES = 1000


class _Context(auto_annotation.TrackingFunctionContext):
    """What a tracking function is told about an image: nothing."""


# Not exported by the first releases that have tracking functions.
_Base: Any = getattr(auto_annotation, "TrackingFunctionShapeContext", object)


class _ShapeContext(_Base):  # type: ignore[misc]
    """What a tracking function is told about an object."""

    def __init__(self, shape_type: str) -> None:
        self._shape_type = shape_type

    @property
    def original_shape_type(self) -> str:
        """Return the type of the shape that is tracked."""
        return self._shape_type


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A state of the function, and the size of the image that it was made from."""

    state: Any
    size: tuple[int, int]


class NativeTracker:
    """Answers the calls of a tracker."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._types = sorted(function.spec.supported_shape_types)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def annotations(self) -> dict[str, str]:
        """Return the type and the shape types as function.yaml has them."""
        return {"type": "tracker", "spec": "", "supported_shape_types": ",".join(self._types)}

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a shape and a state for each object of a call, in the order sent.

        An object with a state is followed. An object with a shape only is started there.
        """
        pairs = list(zip_longest(_read_list(body, "shapes"), _read_list(body, "states")))
        if not pairs:
            raise BadInput("'shapes' and 'states' are empty; send the objects to track")
        objects = [
            self._read_object(shape, state, number) for number, (shape, state) in enumerate(pairs)
        ]
        image: Any = Image.fromarray(decode_image(body.get("image")))
        size = image.size
        if hasattr(self._function, "preprocess_image"):
            image = self._function.preprocess_image(_Context(), image)
        results = [self._step(image, size, last, key) for last, key in objects]
        return {
            "shapes": [shape for shape, _ in results],
            "states": [state for _, state in results],
        }

    def _read_object(self, shape: object, state: object, number: int) -> tuple[Any, str | None]:
        """Return an object's last shape, and the id of its state if it has one."""
        if state is None:
            return self._read_shape(shape, f"shapes[{number}]"), None
        name = f"states[{number}]"
        if not isinstance(state, dict) or not isinstance(state.get("id"), str):
            raise BadInput(f"'{name}' is not a state of this function; send the shape instead")
        return self._read_shape(state.get("last"), f"{name}.last"), state["id"]

    def _read_shape(self, shape: object, name: str) -> Any:
        given: dict[str, Any] = shape if isinstance(shape, dict) else {}
        if given.get("type") not in self._types:
            raise BadInput(
                f"'{name}' is of type {given.get('type')!r}; send one of {', '.join(self._types)}"
            )
        points = given.get("points")
        if not isinstance(points, list) or not points or not all(map(_is_number, points)):
            raise BadInput(f"'{name}.points' is not a list of numbers")
        return auto_annotation.TrackableShape(type=given["type"], points=points)

    def _step(
        self, image: Any, size: tuple[int, int], last: Any, key: str | None
    ) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Follow an object, or start it where it was last. Return its shape and its state."""
        context = _ShapeContext(last.type)
        kept = self._kept.get(key) if key is not None else None
        if key is None or kept is None:
            state = self._function.init_tracking_state(context, image, last)
            return _as_json(last), {"id": self._keep(state, size), "last": _as_json(last)}
        if kept.size != size:
            raise BadInput(
                f"the image is of {size[0]} x {size[1]} pixels and the one before it of "
                f"{kept.size[0]} x {kept.size[1]}; send the shape instead of the state"
            )
        self._kept.move_to_end(key)
        shape = self._function.track(context, image, kept.state)
        if shape is None:
            return None, {"id": key, "last": _as_json(last)}
        if str(shape.type) != last.type:
            raise auto_annotation.BadFunctionError(
                f"it answered a {shape.type} for an object that is a {last.type}"
            )
        return _as_json(shape), {"id": key, "last": _as_json(shape)}

    def _keep(self, state: Any, size: tuple[int, int]) -> str:
        key = secrets.token_hex(16)
        while len(self._kept) >= KEPT_STATES:
            self._kept.popitem(last=False)
        self._kept[key] = _Kept(state=state, size=size)
        return key


def _as_json(shape: Any) -> dict[str, Any]:
    return {"type": str(shape.type), "points": [float(value) for value in shape.points]}


def _read_list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise BadInput(f"'{name}' is not a list")
    return value or []


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)
