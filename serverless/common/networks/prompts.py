"""The clicks and the box of an interactor's call, as Segment Anything's decoders take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.inputs import read_box, read_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

# The decoder's kinds of points.
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, PADDING = 0.0, 1.0, 2.0, 3.0, -1.0


@dataclass(frozen=True)
class Prompt:
    """The clicks and the box of a person, in pixels of the image."""

    positive: Floats  # (n, 2)
    negative: Floats  # (n, 2)
    box: Floats | None = None  # x0, y0, x1, y1

    @property
    def ambiguous(self) -> bool:
        """Return whether the prompt is a single point, which may mean a part or the whole."""
        return len(self.positive) + len(self.negative) == 1 and self.box is None

    def points(self) -> tuple[Floats, Floats]:
        """Return coordinates (n, 2) and the decoder's kind of each (n,)."""
        coordinates = [self.positive, self.negative]
        kinds = [POSITIVE] * len(self.positive) + [NEGATIVE] * len(self.negative)
        if self.box is not None:
            coordinates.append(self.box.reshape(2, 2))
            kinds += [TOP_LEFT, BOTTOM_RIGHT]
        else:
            # Segment Anything was trained with one padding point where there is no box.
            coordinates.append(np.zeros((1, 2)))
            kinds.append(PADDING)
        return np.concatenate(coordinates), np.array(kinds)


def read_prompt(body: dict[str, Any]) -> Prompt | None:
    """Return the clicks and the box of a body; None without a positive click and a box."""
    positive = read_points(body, "pos_points")
    negative = read_points(body, "neg_points")
    box = read_box(body)
    if not len(positive) and box is None:
        return None
    return Prompt(positive=positive, negative=negative, box=box)
