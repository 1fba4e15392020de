"""Masks as run lengths, in CVAT's form.

``(zeros, ones, zeros, ..., left, top, right, bottom)``: the runs go row by row through the
inclusive box, and the first one counts zeros (0 when the mask begins with a one). COCO's run
lengths go column by column and are another format.

Where the ``image_size`` (width, height) is known, it limits the box of a mask, and it mends a box
whose pixels were cut at the border of the image while the box was not (`_fitting_box`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.placement import Bitmap

Size = tuple[int, int]  # width, height of an image in pixels
Box = tuple[int, int, int, int]  # left, top, right, bottom; inclusive

MAX_PIXELS: Final = 1 << 28  # of a box: 16384 x 16384; more is a mistake or an attack
MAX_COORDINATE: Final = 1 << 31
MIN_BOX_LIMIT: Final = 1 << 16  # pixels; a box may be so large however small its image is


def max_box_pixels(image_size: Size | None) -> int:
    """Return how many pixels the box of a mask may have on an image of (width, height).

    A box may reach beyond the image, where it is cut. But a box is decoded as a whole, so that a
    few bytes that announce a huge box would cost gigabytes.
    """
    if image_size is None:
        return MAX_PIXELS
    return min(MAX_PIXELS, max(4 * image_size[0] * image_size[1], MIN_BOX_LIMIT))


def encode(bitmap: Bitmap, left: int, top: int) -> tuple[int, ...]:
    """Encode a bitmap whose upper left pixel is ``(left, top)``.

    Raise ShapeError for a bitmap without pixels.
    """
    if bitmap.ndim != 2 or not bitmap.size:
        raise ShapeError("a mask needs at least one row and one column")
    height, width = bitmap.shape
    flat = np.ascontiguousarray(bitmap, dtype=np.bool_).ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(ends, prepend=0, append=flat.size).tolist()
    if flat[0]:
        runs.insert(0, 0)
    return (*runs, left, top, left + width - 1, top + height - 1)


def decode(points: Sequence[float], *, image_size: Size | None = None) -> tuple[Bitmap, int, int]:
    """Decode run lengths to ``(bitmap, left, top)``; raise ShapeError when they are wrong."""
    runs, (left, top, right, _) = _split(points, image_size)
    return to_rows(runs, right - left + 1), left, top


def to_rows(runs: Sequence[int] | npt.NDArray[np.int64], width: int) -> Bitmap:
    """Return checked run lengths as a bitmap."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(-1, width)


def check(points: Sequence[float], *, image_size: Size | None = None) -> tuple[int, ...]:
    """Return run lengths as integers; raise ShapeError unless they add up to their box."""
    runs, box = _split(points, image_size)
    return (*runs.tolist(), *box)


def from_raw(mask: Sequence[float], *, image_size: Size | None = None) -> tuple[int, ...]:
    """Encode a raw mask: the box's pixels row by row (any non-zero is a one), then the box.

    Raise ShapeError when a pixel is not a number or their count is not the box's area.
    """
    return encode(*decode_raw(mask, image_size=image_size))


def decode_raw(mask: Sequence[float], *, image_size: Size | None = None) -> tuple[Bitmap, int, int]:
    """Decode a raw mask (see ``from_raw``) to ``(bitmap, left, top)``."""
    if len(mask) < 5:
        raise ShapeError("a raw mask is the pixels of its box and then [left, top, right, bottom]")
    box = _check_box(_to_numbers(mask[-4:]).tolist(), image_size)
    count = len(mask) - 4
    fitting = _fitting_box(box, count, image_size)
    if fitting is None:
        raise ShapeError(
            f"the mask has {count} pixels, but its box {list(box)} has {_area(box)} "
            "(the box is inclusive)"
        )
    left, top, right, bottom = fitting
    return to_bitmap(mask[:-4]).reshape(bottom - top + 1, right - left + 1), left, top


def to_bitmap(pixels: Sequence[float]) -> Bitmap:
    """Turn a flat list of numbers into a flat bitmap of what is not zero; raise ShapeError."""
    try:
        # By far the fastest for what functions send: integers 0..255 or booleans.
        numbers: npt.NDArray[Any] = np.frombuffer(bytes(pixels), dtype=np.uint8)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        numbers = _to_numbers(pixels)
    bitmap: Bitmap = numbers != 0
    return bitmap


def clip(points: Sequence[float], width: int, height: int) -> tuple[int, ...] | None:
    """Cut a mask to an image of ``width`` x ``height``; None when no pixel of it is inside."""
    cut = decode_inside(points, width, height)
    return None if cut is None else encode(*cut)


def decode_inside(
    points: Sequence[float], width: int, height: int
) -> tuple[Bitmap, int, int] | None:
    """Decode what of a mask lies inside an image to ``(bitmap, left, top)``; None if nothing does.

    Time and memory are those of the part inside and of the runs, however large the box is. Raises
    ShapeError when the run lengths are wrong.
    """
    runs, (left, top, right, bottom) = _split(points)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(right + 1, width), min(bottom + 1, height)
    if x0 >= x1 or y0 >= y1:
        return None
    rows, begins, ends = _by_rows(runs, right - left + 1, y0 - top, y1 - top)
    # Each run begins and ends in the first column at or behind it; those beside the image cancel.
    flips = np.zeros((y1 - y0, x1 - x0 + 1), dtype=np.int8)
    for columns, step in ((begins, 1), (ends, -1)):
        np.add.at(flips, (rows, np.clip(columns + (left - x0), 0, x1 - x0)), step)
    bitmap: Bitmap = np.cumsum(flips[:, :-1], axis=1, dtype=np.int8) > 0
    return (bitmap, x0, y0) if bitmap.any() else None


def _by_rows(
    runs: npt.NDArray[np.int64], across: int, first: int, last: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut the runs of ones where rows end: (row, begin, end) of each piece.

    Rows are ``across`` wide, ``first`` to ``last`` (exclusive) of them are wanted, and counted from
    the first; begin and end (exclusive) are columns.
    """
    stops = np.cumsum(runs)
    low, high = first * across, last * across
    begins = np.clip((stops - runs)[1::2], low, high)
    ends = np.clip(stops[1::2], low, high)
    begins, ends = begins[begins < ends], ends[begins < ends]
    top, bottom = begins // across, (ends - 1) // across
    counts = bottom - top + 1
    run = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts) + top[run]
    offset = rows * across
    return (
        rows - first,
        np.maximum(begins[run] - offset, 0),
        np.minimum(ends[run] - offset, across),
    )


def trim(bitmap: Bitmap, left: int, top: int) -> tuple[Bitmap, int, int] | None:
    """Cut the empty rows and columns around the ones; None when there is no one."""
    rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
    if not rows.size:
        return None
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return bitmap[y0:y1, x0:x1], left + x0, top + y0


def shift(points: tuple[int, ...], dx: int, dy: int) -> tuple[int, ...]:
    """Move a checked mask; its runs stay as they are."""
    left, top, right, bottom = points[-4:]
    return (*points[:-4], left + dx, top + dy, right + dx, bottom + dy) if dx or dy else points


def _split(
    points: Sequence[float], image_size: Size | None = None
) -> tuple[npt.NDArray[np.int64], Box]:
    if len(points) < 5:
        raise ShapeError("a mask is run lengths and then [left, top, right, bottom]")
    lengths: Any
    if set(map(type, points)) == {int}:  # the usual case, for which numpy takes much longer
        box, lengths = _check_box(points[-4:], image_size), points[:-4]
        fits = min(lengths) >= 0 and max(lengths) <= MAX_PIXELS
    else:
        numbers = _to_numbers(points)
        box, lengths = _check_box(numbers[-4:].tolist(), image_size), numbers[:-4]
        fits = lengths.min() >= 0 and lengths.max() <= MAX_PIXELS
        fits = fits and not np.any(lengths != np.floor(lengths))
    # Bounds first: beyond them a cast to int64 would lie.
    if not fits:
        raise ShapeError("run lengths must be whole numbers, zero or more")
    runs: npt.NDArray[np.int64] = np.array(lengths, dtype=np.int64)
    total = int(runs.sum())
    fitting = _fitting_box(box, total, image_size)
    if fitting is None:
        raise ShapeError(
            f"the run lengths add up to {total}, but the box {list(box)} has {_area(box)} pixels "
            "(the box is inclusive)"
        )
    return runs, fitting


def _fitting_box(box: Box, count: int, image_size: Size | None) -> Box | None:
    """Return the box that has ``count`` pixels: the given one, or the part inside the image.

    A function that cuts the pixels out of an array with ``mask[top : bottom + 1]`` cuts them at the
    border of the image, and often answers the box as it was before. None if neither box fits.
    """
    if _area(box) == count:
        return box
    if image_size is None:
        return None
    left, top, right, bottom = box
    inside = (
        max(left, 0),
        max(top, 0),
        min(right, image_size[0] - 1),
        min(bottom, image_size[1] - 1),
    )
    is_box = inside[0] <= inside[2] and inside[1] <= inside[3]
    return inside if is_box and _area(inside) == count else None


def _check_box(numbers: Sequence[float], image_size: Size | None) -> Box:
    if any(number != int(number) or abs(number) > MAX_COORDINATE for number in numbers):
        raise ShapeError("the box of a mask must be whole pixels")
    left, top, right, bottom = (int(number) for number in numbers)
    box = (left, top, right, bottom)
    if right < left or bottom < top:
        raise ShapeError(f"the box {list(box)} of a mask must be [left, top, right, bottom]")
    most = max_box_pixels(image_size)
    if _area(box) > most:
        raise ShapeError(
            f"the box {list(box)} of a mask is too large: it has {_area(box)} pixels, and at most "
            f"{most} make sense here"
        )
    return box


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return (right - left + 1) * (bottom - top + 1)


def _to_numbers(values: Sequence[float]) -> npt.NDArray[np.float64]:
    # The types first: numpy would also take text, none and, in old versions, ragged lists.
    if not all(
        issubclass(each, (int, float, np.number, np.bool_)) for each in set(map(type, values))
    ):
        raise ShapeError("a mask must be a flat list of numbers")
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError as exc:
        raise ShapeError("a mask must be a flat list of finite numbers") from exc
    if not np.isfinite(numbers).all():
        raise ShapeError("a mask must hold finite numbers, not NaN or Infinity")
    return numbers
