"""Converts annotations to lines, dots and masks in the coordinates of the frame.

The pages render them as SVG; the demo paints them on photographs.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from numpy.typing import NDArray
from PIL import Image

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.types import Label, Shape

Point = tuple[float, float]

COLORS = (
    *("#ffb000", "#fe6100", "#dc267f", "#785ef0", "#648fff"),
    *("#00c2a8", "#7fd13b", "#e6e600", "#ff7f9f", "#9fd3ff"),
)
ELLIPSE_POINTS = 48
# CVAT's cuboid: eight corners, front edge top/bottom pairs in order round the box.
CUBOID_EDGES = (
    *((0, 1), (2, 3), (4, 5), (6, 7)),
    *((0, 2), (2, 4), (4, 6), (6, 0)),
    *((1, 3), (3, 5), (5, 7), (7, 1)),
)
MASK_ALPHA = 120
_COLOR = re.compile("#[0-9a-fA-F]{6}")
_SVG_EDGE = re.compile(r"<line\b[^>]*>")
_SVG_END = re.compile(r'data-node-(from|to)="(\d+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One annotation: its lines, dots and mask, and the caption at its left top corner."""

    color: str  # #rrggbb
    caption: str
    x: float
    y: float
    lines: tuple[tuple[Point, ...], ...] = ()
    dots: tuple[Point, ...] = ()
    mask: NDArray[np.bool_] | None = None  # (height, width), its left top pixel at (x, y)

    @property
    def svg_mask(self) -> dict[str, object] | None:
        """Return the mask as an SVG image: data URL, width and height."""
        if self.mask is None:
            return None
        file = io.BytesIO()
        _two_coloured(self.mask, self.color).save(
            file, "PNG", bits=1, transparency=bytes((0, MASK_ALPHA))
        )
        href = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        return {"href": href, "width": self.mask.shape[1], "height": self.mask.shape[0]}


def to_svg(drawings: Sequence[Drawing], *, dot: float) -> SafeString:
    """Return drawings as elements of an SVG image; ``dot`` is the radius of a point.

    A page shows hundreds of them. A template would take four times as long.
    """
    return mark_safe("".join(_svg_of(drawing, dot) for drawing in drawings))


def _svg_of(drawing: Drawing, dot: float) -> str:
    color = escape(drawing.color)
    parts = [f'<g stroke="{color}" fill="none"><title>{escape(drawing.caption)}</title>']
    if (mask := drawing.svg_mask) is not None:
        place = f'x="{drawing.x}" y="{drawing.y}"'
        size = f'width="{mask["width"]}" height="{mask["height"]}"'
        parts.append(f'<image href="{mask["href"]}" {place} {size}/>')
    for line in drawing.lines:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" vector-effect="non-scaling-stroke"/>')
    for x, y in drawing.dots:
        parts.append(f'<circle cx="{x}" cy="{y}" r="{dot}" fill="{color}" stroke="none"/>')
    return "".join((*parts, "</g>"))


def color_of(label: Label, index: int) -> str:
    """Return the colour of the label at ``index`` of the task's list."""
    return label.color if _COLOR.fullmatch(label.color) else COLORS[index % len(COLORS)]


def rgb(color: str) -> tuple[int, int, int]:
    """Return ``#rrggbb`` as numbers."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def tint(mask: NDArray[np.bool_], color: str) -> Image.Image:
    """Return a mask as a half-transparent image."""
    pixels = np.zeros((*mask.shape, 4), dtype=np.uint8)
    pixels[mask] = (*rgb(color), MASK_ALPHA)
    return Image.fromarray(pixels)


def _two_coloured(mask: NDArray[np.bool_], color: str) -> Image.Image:
    """Return a mask as a palette image: one bit a pixel instead of the four bytes of `tint`."""
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette((0, 0, 0, *rgb(color)))
    return image


def draw(shapes: Sequence[Shape], labels: Sequence[Label], size: tuple[int, int]) -> list[Drawing]:
    """Return the shapes of one frame of this size, masks first, so that lines stay visible.

    Masks are clipped to the frame: a few stored numbers may declare a box of any size.
    """
    places = {label.id: (index, label) for index, label in enumerate(labels)}
    unknown = (0, Label(name="?"))
    ordered = sorted(shapes, key=lambda shape: shape.type != "mask")
    drawings = (_drawing(shape, *places.get(shape.label_id, unknown), size) for shape in ordered)
    return [drawing for drawing in drawings if drawing is not None]


def _drawing(shape: Shape, index: int, label: Label, size: tuple[int, int]) -> Drawing | None:
    color = color_of(label, index)
    caption = f"{label.name} {shape.score:.2f}"
    if shape.type == "mask":
        inside = rle.decode_inside(shape.points, *size)
        seen = None if inside is None else rle.trim(*inside)
        if seen is None:
            return None
        bitmap, left, top = seen
        return Drawing(color=color, caption=caption, x=left, y=top, mask=bitmap)
    if shape.type == "skeleton":
        lines, dots = _skeleton(shape, label)
    else:
        lines, dots = _figure(shape)
    every = [*dots, *(point for line in lines for point in line)]
    return Drawing(
        color=color,
        caption=caption,
        x=min((point[0] for point in every), default=0.0),
        y=min((point[1] for point in every), default=0.0),
        lines=lines,
        dots=dots,
    )


def _pairs(points: Sequence[float]) -> tuple[Point, ...]:
    return tuple(zip(points[0::2], points[1::2], strict=False))


def _figure(shape: Shape) -> tuple[tuple[tuple[Point, ...], ...], tuple[Point, ...]]:
    """Return the lines and dots of a shape without elements."""
    pairs = _pairs(shape.points)
    if shape.type == "points":
        return (), pairs
    if shape.type == "polyline":
        return (pairs,), ()
    if shape.type == "cuboid":
        return tuple((pairs[one], pairs[two]) for one, two in CUBOID_EDGES), ()
    if shape.type == "rectangle":
        (left, top), (right, bottom) = pairs
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        centre = ((left + right) / 2, (top + bottom) / 2)
        pairs = _turned(corners, centre, shape.rotation)
    elif shape.type == "ellipse":
        (cx, cy), (right, top) = pairs
        angles = [2 * math.pi * step / ELLIPSE_POINTS for step in range(ELLIPSE_POINTS)]
        rim = tuple(
            (cx + (right - cx) * math.cos(angle), cy + (cy - top) * math.sin(angle))
            for angle in angles
        )
        pairs = _turned(rim, (cx, cy), shape.rotation)
    return ((*pairs, pairs[0]),), ()


def _turned(points: tuple[Point, ...], centre: Point, degrees: float) -> tuple[Point, ...]:
    """Return points rotated clockwise (y grows downwards) around a centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = centre
    return tuple(
        (cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos)
        for x, y in points
    )


def _skeleton(
    shape: Shape, label: Label
) -> tuple[tuple[tuple[Point, ...], ...], tuple[Point, ...]]:
    """Return the visible points, and the edges between them that the label's SVG draws."""
    order = {sublabel.id: place for place, sublabel in enumerate(label.sublabels, start=1)}
    points = {
        order.get(element.label_id, -place): _pairs(element.points)[0]
        for place, element in enumerate(shape.elements, start=1)
        if not element.outside and element.points
    }
    edges = []
    for tag in _SVG_EDGE.findall(label.svg):
        ends = {name: int(number) for name, number in _SVG_END.findall(tag)}
        one, two = points.get(ends.get("from", 0)), points.get(ends.get("to", 0))
        if one is not None and two is not None:
            edges.append((one, two))
    return tuple(edges), tuple(points.values())
