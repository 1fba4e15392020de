"""Paints annotations on photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cvat_lambda.web.overlay import Drawing, rgb, tint


def paint(image: Image.Image, drawings: Sequence[Drawing]) -> Image.Image:
    """Return a copy of the image with the drawings and their captions."""
    canvas = image.convert("RGB")
    for drawing in drawings:
        if drawing.mask is not None:
            shade = tint(drawing.mask, drawing.color)
            canvas.paste(shade, (round(drawing.x), round(drawing.y)), shade)
    pen = ImageDraw.Draw(canvas)
    width = max(2, round(max(canvas.size) / 300))
    font = ImageFont.load_default(size=max(12, round(max(canvas.size) / 40)))
    for drawing in drawings:
        color = rgb(drawing.color)
        for line in drawing.lines:
            pen.line(line, fill=color, width=width, joint="curve")
        for x, y in drawing.dots:
            radius = width * 1.5
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        if drawing.caption:
            _write(pen, drawing, font)
    return canvas


def _write(pen: ImageDraw.ImageDraw, drawing: Drawing, font: Any) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), drawing.caption, font=font)
    x, y = max(0.0, drawing.x), max(0.0, drawing.y - (bottom - top) - 4)
    pen.rectangle((x, y, x + right - left + 6, y + bottom - top + 4), fill=rgb(drawing.color))
    pen.text((x + 3, y + 2), drawing.caption, fill=(0, 0, 0), font=font, anchor="lt")
