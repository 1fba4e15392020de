"""Reads and checks the fields of a call's body. Every error names the field."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common import binary
from common.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.platform import Event


def is_binary(event: Event) -> bool:
    """Return whether the body of a call is a binary one."""
    return bool(event.content_type == binary.CONTENT_TYPE)


def read_body(event: Event) -> dict[str, Any]:
    """Return the object of a call. Nuclio parses JSON only for some content types."""
    body = event.body
    if is_binary(event):
        body = binary.decode(body)
    elif isinstance(body, (bytes, bytearray, str)):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise BadInput("the body is not JSON; send a JSON object") from error
    if not isinstance(body, dict):
        raise BadInput("the body is not a JSON object")
    return body


def read_number(body: dict[str, Any], name: str, default: float) -> float:
    """Return a finite number, or ``default`` when it is absent or null."""
    value = body.get(name)
    if value is None:
        return default
    if not _is_number(value):
        raise BadInput(f"'{name}' is {value!r}; send a number")
    return float(value)


def read_threshold(body: dict[str, Any], default: float) -> float:
    """Return the threshold in [0, 1], or ``default`` when it is absent or null."""
    threshold = read_number(body, "threshold", default)
    if not 0.0 <= threshold <= 1.0:
        raise BadInput(f"'threshold' is {threshold:g}; send a number from 0 to 1")
    return threshold


def read_word(body: dict[str, Any], name: str, words: Sequence[str]) -> str | None:
    """Return one of ``words``, or None when it is absent or null."""
    value = body.get(name)
    if value is not None and value not in words:
        raise BadInput(f"'{name}' is {value!r}; send one of {', '.join(words)}")
    return value


def read_points(body: dict[str, Any], name: str) -> NDArray[np.float64]:
    """Return points sent as [[x, y], ...] in pixels, shape (n, 2); n is 0 when absent or null."""
    value = body.get(name)
    if value is None:
        return np.zeros((0, 2), dtype=np.float64)
    if not isinstance(value, list):
        raise BadInput(f"'{name}' is not a list of points; send [[x, y], ...]")
    for point in value:
        if not isinstance(point, list) or len(point) != 2 or not all(map(_is_number, point)):
            raise BadInput(f"'{name}' holds {point!r}, which is not a point; send [[x, y], ...]")
    return np.array(value, dtype=np.float64).reshape(-1, 2)


def read_box(body: dict[str, Any], name: str = "obj_bbox") -> NDArray[np.float64] | None:
    """Return the box [x0, y0, x1, y1] of two opposite corners, or None when there is none.

    CVAT's canvas sends [[x1, y1], [x2, y2]], or [] when no box was drawn. A flat list of four
    numbers is accepted as well.
    """
    value = body.get(name)
    if value is None or value == []:
        return None
    if isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)):
        value = [value[:2], value[2:]]
    corners = read_points({name: value}, name)
    if len(corners) != 2:
        raise BadInput(f"'{name}' has {len(corners)} corners; send [[x1, y1], [x2, y2]]")
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def read_boxes(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the boxes of a frame for re-identification: objects with four ``points`` numbers."""
    value = body.get(name)
    if not isinstance(value, list):
        raise BadInput(f"'{name}' is missing; send a list of boxes")
    for box in value:
        points = box.get("points") if isinstance(box, dict) else None
        if not isinstance(points, list) or len(points) != 4 or not all(map(_is_number, points)):
            raise BadInput(f"'{name}' holds a box whose 'points' are not four numbers")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # False for NaN as well. math.isfinite fails for integers that are too large for a float.
    return abs(value) <= sys.float_info.max
