"""Masks of CVAT's SDK: run lengths (zeros first) of the rows in an inclusive box, then the box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from cvat_sdk import auto_annotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


def decode(points: Sequence[float]) -> tuple[Mask, list[int]]:
    """Return the pixels inside a mask's box, and the box: left, top, right, bottom.

    Raise BadFunctionError if the run lengths do not fill the box.
    """
    *lengths, left, top, right, bottom = (int(value) for value in points)
    rows, columns = bottom - top + 1, right - left + 1
    if rows < 1 or columns < 1 or min(lengths, default=-1) < 0 or sum(lengths) != rows * columns:
        raise auto_annotation.BadFunctionError(
            f"it answered a mask whose run lengths do not fill its box {[left, top, right, bottom]}"
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(rows, columns), [left, top, right, bottom]
