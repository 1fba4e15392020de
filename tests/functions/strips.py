"""Pictures for the docs: frames side by side, with drawn annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cvat_lambda.server.drawing import paint
from cvat_lambda.web.overlay import Drawing, Point

MAX_WIDTH, MAX_HEIGHT = 906, 300  # pixels: the width of a page without its menus
GAP = 6  # pixels between the panels
RIM = "#ffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A frame, its drawings, and the part of it to show."""

    image: Image.Image
    drawings: Sequence[Drawing]
    part: tuple[int, int, int, int] | None = None  # x0, y0, x1, y1; None: the whole

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The box of the part."""
        return self.part or (0, 0, *self.image.size)

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) / (y1 - y0)

    def painted(self, height: int) -> Image.Image:
        """Return the part scaled to a height, then painted, so that all captions have one size."""
        x0, y0, _, y1 = self.box
        size = round(self.aspect * height), height
        image = self.image.crop(self.box).resize(size, Image.Resampling.LANCZOS)
        moved = [_moved(each, (x0, y0), height / (y1 - y0)) for each in self.drawings]
        rims = [rim for each in moved for rim in _rim(each)]
        return paint(image, [*moved, *rims, *rims])  # twice: masks are painted half-transparent


def strip(panels: Sequence[Panel]) -> Image.Image:
    """Return the panels side by side, as high as the limits allow."""
    room = MAX_WIDTH - GAP * (len(panels) - 1)
    height = min(MAX_HEIGHT, int(room / sum(panel.aspect for panel in panels)))
    images = [panel.painted(height) for panel in panels]
    width = sum(image.width + GAP for image in images) - GAP
    canvas = Image.new("RGB", (width, height), "white")
    x = 0
    for image in images:
        canvas.paste(image, (x, 0))
        x += image.width + GAP
    return canvas


def _moved(drawing: Drawing, origin: Point, scale: float) -> Drawing:
    """Return a drawing moved and scaled to a part of the frame."""

    def at(point: Point) -> Point:
        return (point[0] - origin[0]) * scale, (point[1] - origin[1]) * scale

    x, y = at((drawing.x, drawing.y))
    mask = drawing.mask
    if mask is not None:
        size = round(mask.shape[1] * scale), round(mask.shape[0] * scale)
        mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    lines = tuple(tuple(map(at, line)) for line in drawing.lines)
    return replace(drawing, x=x, y=y, lines=lines, dots=tuple(map(at, drawing.dots)), mask=mask)


def _rim(drawing: Drawing) -> Iterator[Drawing]:
    """Paint the rim of a mask white, because a tint alone is hard to see on dark objects."""
    if drawing.mask is not None:
        padded = np.pad(drawing.mask, 1)
        inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
        yield replace(drawing, color=RIM, caption="", lines=(), dots=(), mask=drawing.mask & ~inner)
