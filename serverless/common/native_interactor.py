"""Interaction functions of CVAT's SDK."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from cvat_sdk import auto_annotation
from PIL import Image, ImageDraw

from common.errors import BadInput
from common.images import decode_image
from common.inputs import read_box, read_points
from common.native_masks import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Point = tuple[float, float]
    Mask = NDArray[np.bool_]

KEPT_IMAGES = 4  # preprocessed images that a worker keeps, for further clicks
_NOTHING = {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}


class _Prompts(getattr(auto_annotation, "InteractionPrompts", object)):  # type: ignore[misc]
    """The clicks and the box of a call."""

    def __init__(
        self, pos_points: list[Point], neg_points: list[Point], box: tuple[Point, Point] | None
    ) -> None:
        self._pos_points, self._neg_points, self._box = pos_points, neg_points, box

    @property
    def pos_points(self) -> list[Point]:
        """Return the points on the object."""
        return self._pos_points

    @property
    def neg_points(self) -> list[Point]:
        """Return the points beside the object."""
        return self._neg_points

    @property
    def bounding_box(self) -> tuple[Point, Point] | None:
        """Return the top left and the bottom right corner of the box around the object."""
        return self._box


class _Context(getattr(auto_annotation, "InteractionFunctionContext", object)):  # type: ignore[misc]
    """What an interaction function is told about a call: nothing."""


class NativeInteractor:
    """Answers the calls of an interactor."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._images: OrderedDict[str, tuple[Any, tuple[int, int]]] = OrderedDict()

    def annotations(self) -> dict[str, str]:
        """Return the type and the prompts as function.yaml has them."""
        spec = self._function.spec
        negative = -1 if spec.min_neg_points is None else spec.min_neg_points
        box = {
            None: {},
            0: {"startswith_box_optional": "true"},
            1: {"startswith_box": "true"},
        }[spec.min_bounding_boxes]
        return {
            "type": "interactor",
            "spec": "",
            "version": "2",
            "min_pos_points": str(spec.min_pos_points),
            "min_neg_points": str(negative),
            **box,
        }

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the mask of all that the function finds for a call's clicks and box."""
        prompts = self._read_prompts(body)
        image, size = self._preprocessed(body.get("image"))
        masks = [
            _filled(shape, size) for shape in self._function.detect(_Context(), image, prompts)
        ]
        if not masks:
            return _NOTHING
        return _mask_answer(np.logical_or.reduce(masks))

    def _read_prompts(self, body: dict[str, Any]) -> _Prompts:
        spec = self._function.spec
        pos_points, neg_points = (
            [(float(x), float(y)) for x, y in read_points(body, name)]
            for name in ("pos_points", "neg_points")
        )
        box = read_box(body)
        if len(pos_points) < spec.min_pos_points:
            raise BadInput(f"'pos_points' has {len(pos_points)}; send {spec.min_pos_points} points")
        if spec.min_neg_points is None and neg_points:
            raise BadInput("'neg_points' is not empty; this function uses no negative points")
        if len(neg_points) < (spec.min_neg_points or 0):
            raise BadInput(f"'neg_points' has {len(neg_points)}; send {spec.min_neg_points} points")
        if box is None and spec.min_bounding_boxes == 1:
            raise BadInput("'obj_bbox' is empty; this function needs a box")
        if box is not None and spec.min_bounding_boxes is None:
            raise BadInput("'obj_bbox' is not empty; this function uses no box")
        x0, y0, x1, y1 = box.tolist() if box is not None else (0.0, 0.0, 0.0, 0.0)
        return _Prompts(pos_points, neg_points, None if box is None else ((x0, y0), (x1, y1)))

    def _preprocessed(self, encoded: object) -> tuple[Any, tuple[int, int]]:
        """Return the function's form of an image, and the image's width and height in pixels."""
        key = hashlib.sha256(encoded.encode() if isinstance(encoded, str) else b"").hexdigest()
        if key not in self._images:
            image: Any = Image.fromarray(decode_image(encoded))
            size = image.size
            if hasattr(self._function, "preprocess_image"):
                image = self._function.preprocess_image(_Context(), image)
            while len(self._images) >= KEPT_IMAGES:
                self._images.popitem(last=False)
            self._images[key] = (image, size)
        self._images.move_to_end(key)
        return self._images[key]


def _filled(shape: Any, size: tuple[int, int]) -> Mask:
    """Return a shape's pixels in an image of a width and a height."""
    kind, points = str(shape.type), list(shape.points)
    width, height = size
    if kind == "mask":
        return _decoded(points, width, height)
    canvas = Image.new("1", size)
    if kind == "polygon" and len(points) >= 6:
        ImageDraw.Draw(canvas).polygon(points, fill=1, outline=1)
    elif kind == "rectangle" and len(points) == 4:
        ImageDraw.Draw(canvas).rectangle(points, fill=1)
    else:
        raise auto_annotation.BadFunctionError(
            f"it answered a {kind} of {len(points)} numbers, no mask, polygon or rectangle"
        )
    return np.asarray(canvas, dtype=bool)


def _decoded(points: list[float], width: int, height: int) -> Mask:
    """Return the pixels of a mask in an image of a width and a height."""
    part, (left, top, right, bottom) = decode(points)
    if left < 0 or top < 0 or right >= width or bottom >= height:
        raise auto_annotation.BadFunctionError(
            f"it answered a mask whose box {[left, top, right, bottom]} reaches beyond the image "
            f"of {width} x {height}"
        )
    mask = np.zeros((height, width), dtype=bool)
    mask[top : bottom + 1, left : right + 1] = part
    return mask


def _mask_answer(mask: Mask) -> dict[str, Any]:
    """Return rows of 0 and 255 inside the mask's bounds."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return _NOTHING
    left, top, right, bottom = (
        int(value) for value in (columns[0], rows[0], columns[-1], rows[-1])
    )
    part = mask[top : bottom + 1, left : right + 1].astype(np.uint8) * np.uint8(255)
    return {"mask": part.tolist(), "bounds": [left, top, right, bottom]}
