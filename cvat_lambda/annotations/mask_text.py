"""An interactor's mask as JSON text, which is checked but never parsed into numbers.

A mask of a full-HD image has two million numbers. To parse, check and write them takes most of a
second, and the text is the same before and after. A mask in the usual form, rows of 0 and 1 or of
0 and 255, is checked as bytes and passed on as it is. Any other mask is parsed as JSON, so that the
errors say what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cvat_lambda.annotations.placement import Bitmap

_KEY: Final = b'"mask"'
_BEGIN: Final = re.compile(rb"\s*:\s*(?=\[\[)")
_STAND_IN: Final = b'"the mask"'
_TWO_TO_ONE: Final = bytes.maketrans(b"2", b"1")
_CELLS: Final = (b",0", b",255")
_OPEN, _ZERO, _ONE, _NEXT = np.frombuffer(b"   [  0,255,   ,", dtype=np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskText:
    """A whole mask: rows of one length, of zeros and one other value."""

    text: bytes  # compact JSON, an array of arrays
    width: int  # pixels
    height: int
    is_empty: bool  # no pixel is set

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def tolist(self) -> list[list[int]]:
        """Return the rows as numbers. JSON encoders that support numpy's arrays call this."""
        rows: list[list[int]] = json.loads(self.text)
        return rows


def parse(body: bytes, **options: Any) -> Any:
    """Parse JSON as ``json.loads(body, **options)`` does, and read a mask as a `MaskText`.

    The mask is the member ``mask`` of the object, if its text has the usual form. Raises
    ValueError, RecursionError.
    """
    place = _find(body)
    if place is not None:
        begin, end = place
        mask = read(body[begin:end])
        if mask is not None:
            rest = json.loads(b"".join((body[:begin], _STAND_IN, body[end:])), **options)
            # The key may belong to another object, or occur twice.
            if isinstance(rest, dict) and rest.get("mask") == "the mask":
                rest["mask"] = mask
                return rest
    return json.loads(body, **options)


def read(text: bytes) -> MaskText | None:
    """Read the JSON text of rows. Return None if it does not have the usual form."""
    text = _without_spaces(text)
    digits = _one_digit_a_pixel(text)
    width = (digits.find(b"]") - 1) // 2  # "[[0,1,...,0]": two characters a pixel and one
    across = 2 * width + 2  # "[0,1,...,0],", the last one with the bracket that closes them all
    if width < 1 or (len(digits) - 1) % across or not digits.endswith(b"]]"):
        return None
    rows = np.frombuffer(digits, dtype=np.uint8, offset=1).reshape(-1, across)
    zeros = np.frombuffer(b"[" + b",".join([b"0"] * width) + b"],", dtype=np.uint8)
    differ = rows ^ zeros
    differ[-1, -1] = 0
    # A one differs from a zero in its last bit; nothing else may differ.
    wrong = np.full(across, 0xFF, dtype=np.uint8)
    wrong[1:-2:2] = 0xFE
    if digits[:1] != b"[" or np.any(differ & wrong):
        return None
    return MaskText(text=text, width=width, height=len(rows), is_empty=not differ.any())


def of_runs(runs: Sequence[int], width: int, height: int) -> MaskText:
    """Return checked run lengths, of zeros first, as rows of 0 and 255.

    Its time grows with rows and runs, that of `of_bitmap` with pixels: the text of a mask of
    900 x 700 pixels takes 0.5 ms instead of 7 ms.
    """
    parts = [b"["]
    column = 0  # where the next run begins
    for place, run in enumerate(runs):
        cell, left = _CELLS[place % 2], run
        if column:
            taken = min(left, width - column)
            parts.append(cell * taken)
            column, left = column + taken, left - taken
            if column < width:
                continue
            parts.append(b"],")
        rows, column = divmod(left, width)
        if rows:
            parts.append((b"[" + (cell * width)[1:] + b"],") * rows)
        if column:
            parts.append(b"[" + (cell * column)[1:])
    text = b"".join(parts)[:-1] + b"]"
    return MaskText(text=text, width=width, height=height, is_empty=not any(runs[1::2]))


def of_bitmap(bitmap: Bitmap) -> MaskText:
    """Return a bitmap as rows of 0 and 255."""
    height, width = bitmap.shape
    # Four bytes a pixel, and the spaces are removed at the end: this is the fastest way.
    cells = np.empty((height, width + 2), dtype=np.uint32)
    cells[:, 0], cells[:, -1] = _OPEN, _NEXT
    cells[:, 1:-1] = np.where(bitmap, _ONE, _ZERO)
    cells.view(np.uint8)[:, -5] = ord("]")  # in place of the comma behind the last pixel
    text = b"[" + cells.tobytes().translate(None, b" ")[:-1] + b"]"
    return MaskText(text=text, width=width, height=height, is_empty=not bitmap.any())


def _without_spaces(text: bytes) -> bytes:
    """Remove the spaces if all of them follow a comma, as Python writes them."""
    spaces = text.count(b" ")
    return text.translate(None, b" ") if spaces and spaces == text.count(b", ") else text


def _one_digit_a_pixel(text: bytes) -> bytes:
    """Replace 255 by 1 if the text has no other 2 or 5, and no 1."""
    many = text.count(b"255")
    if many and (text.count(b"2"), text.count(b"5"), text.count(b"1")) == (many, 2 * many, 0):
        return text.translate(_TWO_TO_ONE, b"5")
    return text


def splice(mask: MaskText, others: bytes) -> bytes:
    """Put a mask into the JSON text of an object without one, as its first member."""
    inside = others.strip()[1:].lstrip()
    return b"".join((b'{"mask":', mask.text, b"" if inside == b"}" else b",", inside))


def _find(body: bytes) -> tuple[int, int] | None:
    """Return where the rows of the only member ``mask`` begin and end in a JSON text."""
    if body.count(_KEY) != 1:
        return None
    begin = _BEGIN.match(body, body.index(_KEY) + len(_KEY))
    if begin is None:
        return None
    end = body.find(b"]]", begin.end())
    return None if end < 0 else (begin.end(), end + 2)
