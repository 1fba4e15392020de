"""The check of an interactor's answer."""

from __future__ import annotations

import base64
import string
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cvat_lambda.annotations import mask_text, rle
from cvat_lambda.annotations.clipping import clip_polygon
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.mask_text import MaskText
from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.annotations.reading import kind, read_list, read_object, show
from cvat_lambda.annotations.shapes import MAX_VALUE, Size, is_number

# `mask_text.of_runs` takes as long for one run as `mask_text.of_bitmap` for so many pixels.
_PIXELS_A_RUN: Final = 32
_BASE64: Final = f"{string.ascii_letters}{string.digits}+/".encode()


def check_interactor_answer(
    answer: object,
    *,
    image_size: tuple[int, int] | None,
    placement: Placement = WHOLE_FRAME,
) -> dict[str, Any]:
    """Check an interactor's answer and return it in the API's form.

    ``{"mask": rows of two-valued whole numbers, "points"?: [[x, y], ...], "bounds"?: [left, top,
    right, bottom] inclusive, "blob"?: base64}``; a function that leaves the decoding to the
    browser sends ``blob`` and no mask. A mask that was read as a `MaskText` stays one, and ``rle``,
    a mask of run lengths (see `annotations.rle`), becomes one.
    ``image_size`` is the (width, height) of the whole frame, and the unscaled ``placement`` says
    which part of it the function saw. Bounds and points are moved to the whole frame and cut to
    it. A mask of a part gets the bounds of that part. Raise AnswerError.
    """
    given = read_object(answer)
    is_part = placement.size is not None and placement.size != image_size
    checked: dict[str, Any] = {}
    read = _read_mask(given, image_size, placement)
    if read is not None:
        checked["mask"], bounds, is_empty = read
        if bounds is not None:
            checked["bounds"] = bounds
        if is_empty:
            # Without points the UI looks for the outline of nothing, and fails.
            checked["points"] = []
    if given.get("points") is not None:
        vertices = _check_vertices(given["points"], placement.offset, image_size)
        if vertices is not None:
            checked["points"] = vertices
    if given.get("blob") is not None:
        checked["blob"] = _check_blob(given["blob"], of_a_part=is_part)
    if "mask" not in checked and "blob" not in checked:
        raise AnswerError("an interactor must answer a mask (or a blob)", field="mask")
    return checked


def _read_mask(
    given: dict[str, Any], image_size: Size | None, placement: Placement
) -> tuple[MaskText | list[list[int]], list[int] | None, bool] | None:
    """Return the mask, its bounds (None: the whole image), and whether it is empty.

    None if the answer has no mask.
    """
    mask, bounds = given.get("mask"), given.get("bounds")
    if isinstance(mask, MaskText):
        return mask, _place_mask(bounds, mask.size, image_size, placement), mask.is_empty
    if mask is not None:
        rows, is_empty = _check_rows(mask)
        size = (len(rows[0]), len(rows))
        return rows, _place_mask(bounds, size, image_size, placement), is_empty
    if given.get("rle") is None:
        return None
    runs, box = _check_runs(given["rle"], placement.image_size(image_size))
    left, top, right, bottom = box
    size = (right - left + 1, bottom - top + 1)
    # Before the rows: a few bytes can announce a box that is much larger than the image.
    placed = _place_mask(box, size, image_size, placement)
    text = _text_of_runs(runs, size)
    return text, placed, text.is_empty


def _check_runs(raw: object, image_size: Size | None) -> tuple[list[int], list[int]]:
    """Return the run lengths of a mask, and its box."""
    try:
        points = rle.check(read_list(raw, field="rle"), image_size=image_size)
    except ShapeError as exc:
        raise AnswerError(exc.message, field="rle") from exc
    return list(points[:-4]), list(points[-4:])


def _text_of_runs(runs: list[int], size: Size) -> MaskText:
    width, height = size
    if len(runs) + height < width * height // _PIXELS_A_RUN:
        return mask_text.of_runs(runs, width, height)
    return mask_text.of_bitmap(rle.to_rows(runs, width))  # noise


def _check_rows(raw: object) -> tuple[list[list[int]], bool]:
    """Check the rows of a mask; return them as whole numbers, and whether the mask is empty."""
    rows = read_list(raw, field="mask")
    if not rows:
        raise AnswerError("the mask has no rows", field="mask")
    checked: list[list[int]] = []
    one: int | None = None  # the value that is not zero
    for number, row in enumerate(rows):
        pixels = read_list(row, field=f"mask[{number}]")
        if not pixels or len(pixels) != len(rows[0]):
            raise AnswerError(
                f"the row has {len(pixels)} pixels, the first one {len(rows[0])}; "
                "rows must be of one length",
                field=f"mask[{number}]",
            )
        numbers, others = _read_row(pixels, number, one)
        checked.append(numbers)
        if not others:
            continue
        if one is not None or len(others) > 1:
            shown = ", ".join(map(str, sorted({0, *others, *([] if one is None else [one])})[:4]))
            raise AnswerError(
                f"a mask has two values, 0 and one other, but here are {shown}",
                field=f"mask[{number}]",
            )
        (one,) = others
    return checked, one is None


def _read_row(pixels: list[Any], number: int, one: int | None) -> tuple[list[int], set[int]]:
    """Return a row as whole numbers, and those of its values that are neither 0 nor ``one``."""
    try:
        # Fast, for whole numbers 0..255 and booleans: what is known is deleted in one go.
        row = bytes(pixels)
        known = bytes((0,)) if one is None or one > 255 else bytes((0, one))
        return list(row), set(row.translate(None, known))
    except (TypeError, ValueError, OverflowError):
        pass
    values = _whole_numbers(pixels)
    if values is None:
        wrong = next(pixel for pixel in pixels if _whole_numbers([pixel]) is None)
        raise AnswerError(
            f"a mask is of whole numbers, zero or more, not {show(wrong)}",
            field=f"mask[{number}]",
        )
    return values.tolist(), set(np.unique(values).tolist()) - ({0} if one is None else {0, one})


def _whole_numbers(pixels: list[Any]) -> npt.NDArray[np.int64] | None:
    """Return pixels as integers; None if one of them is not a whole number of zero or more."""
    # The types first: numpy would also take text.
    if not set(map(type, pixels)) <= {int, float, bool}:
        return None
    try:
        values = np.array(pixels, dtype=np.float64)
    except OverflowError:
        return None
    if not np.all((values >= 0) & (values <= MAX_VALUE) & (values == np.floor(values))):
        return None
    return values.astype(np.int64)


def _place_mask(
    raw: object,
    size: tuple[int, int],
    image_size: tuple[int, int] | None,
    placement: Placement,
) -> list[int] | None:
    """Return the bounds of a mask in the whole image; None when it is the whole image."""
    width, height = size
    dx, dy = offset = placement.offset
    if raw is not None:
        left, top, right, bottom = bounds = _check_bounds(raw)
        if (right - left + 1, bottom - top + 1) != size:
            raise AnswerError(
                f"the bounds {bounds} are of {right - left + 1} x {bottom - top + 1} pixels "
                f"(ends included), but the mask is of {width} x {height}",
                field="bounds",
            )
        placed = [left + dx, top + dy, right + dx, bottom + dy]
    else:
        seen = placement.size or (image_size if offset == (0, 0) else None)
        if seen is not None and size != seen:
            raise AnswerError(
                f"the mask is of {width} x {height} pixels and has no bounds, but the image is of "
                f"{seen[0]} x {seen[1]}",
                field="mask",
            )
        if offset == (0, 0) and (image_size is None or size == image_size):
            return None
        placed = [dx, dy, dx + width - 1, dy + height - 1]
    if image_size is not None and (
        placed[0] < 0 or placed[1] < 0 or placed[2] >= image_size[0] or placed[3] >= image_size[1]
    ):
        raise AnswerError(
            f"the mask at {placed} reaches beyond the image of {image_size[0]} x {image_size[1]}",
            field="bounds",
        )
    return placed


def _check_bounds(raw: object) -> list[int]:
    values = read_list(raw, field="bounds")
    if len(values) != 4 or not all(is_number(v) and v == int(v) for v in values):
        raise AnswerError("expected [left, top, right, bottom] in whole pixels", field="bounds")
    return [int(value) for value in values]


def _check_vertices(
    raw: object, offset: tuple[int, int], image_size: Size | None
) -> list[list[float]] | None:
    """Return a polygon of the whole image, cut to it; None if none of it is inside."""
    vertices: list[list[float]] = []
    for number, vertex in enumerate(read_list(raw, field="points")):
        if not isinstance(vertex, list) or len(vertex) != 2 or not all(map(is_number, vertex)):
            raise AnswerError("expected a pair of finite numbers", field=f"points[{number}]")
        vertices.append([vertex[0] + offset[0], vertex[1] + offset[1]])
    if 0 < len(vertices) < 3:
        raise AnswerError(
            f"a polygon has three vertices or more, or none at all, but {len(vertices)} came",
            field="points",
        )
    if image_size is None or all(
        0 <= x <= image_size[0] and 0 <= y <= image_size[1] for x, y in vertices
    ):
        return vertices
    cut = clip_polygon(tuple(value for vertex in vertices for value in vertex), image_size)
    return None if cut is None else [list(pair) for pair in zip(cut[::2], cut[1::2], strict=True)]


def _check_blob(raw: object, *, of_a_part: bool) -> str:
    """Return base64, which the browser decodes for the whole image."""
    if isinstance(raw, bytes) and raw:  # of a binary answer
        raw = base64.b64encode(raw).decode()
    if not isinstance(raw, str):
        raise AnswerError(f"expected text, not {kind(raw)}", field="blob")
    if of_a_part:
        raise AnswerError(
            "a blob is decoded in the browser for the whole image, so it cannot be of the region "
            "that was asked",
            field="blob",
        )
    # Megabytes: looked at, not decoded.
    padding = raw.encode("ascii", "replace").translate(None, _BASE64)
    ends_right = padding in (b"", b"=", b"==") and raw.endswith(padding.decode())
    if not raw or len(raw) % 4 or not ends_right:
        raise AnswerError("expected base64, which it is not", field="blob")
    return raw
