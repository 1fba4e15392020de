"""Generated clips with known truth: textured objects that move, scale, cross, leave and come back.

A clip is made from a seed: the same seed gives the same frames everywhere. The objects are parts of
the sample photographs, half of them elliptic. The background moves, too, and the light changes.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

PHOTOGRAPHS: Final = Path(__file__).resolve().parents[2] / "cvat_lambda" / "server" / "photographs"
WIDTH, HEIGHT = 640, 480
PARTS: Final = (
    ("astronaut", (170, 40, 290, 200)),  # a head
    ("coffee", (170, 15, 410, 305)),  # a cup
    ("astronaut", (30, 260, 190, 440)),  # a flag and a sleeve
    ("camera", (180, 60, 330, 260)),  # a head and a camera, grey
)
Box = list[float]  # left, top, right, bottom in pixels
MIN_IOU: Final = 0.5  # a box of a tracker with this IoU is on its object
VISIBLE: Final = 0.5  # share of an object that is seen, below which it counts as hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """An object on a frame."""

    box: tuple[float, float, float, float]  # of the whole object, in pixels
    visible: float  # share of its pixels on the image that no other object hides

    @property
    def is_seen(self) -> bool:
        """Return whether a tracker should find the object."""
        return self.visible >= VISIBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Frames, and the objects of each frame in one order."""

    frames: list[np.ndarray[Any, Any]]  # RGB
    truths: list[list[Truth]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """The motion of an object: an ellipse around a point, and a change of its size."""

    centre: tuple[float, float]
    radius: tuple[float, float]
    period: float  # frames of one round
    phase: float
    growth: float  # the size is between 1 / growth and growth
    growth_period: float
    leaves: int | None  # the frame on which it is farthest outside
    size: tuple[float, float]

    def box(self, number: int) -> tuple[float, float, float, float]:
        angle = 2 * math.pi * number / self.period + self.phase
        x = self.centre[0] + self.radius[0] * math.cos(angle)
        y = self.centre[1] + self.radius[1] * math.sin(angle)
        if self.leaves is not None:  # it goes down out of the image, and comes back
            y += 600 * max(0.0, 1 - abs(number - self.leaves) / 40)
        scale = self.growth ** math.sin(2 * math.pi * number / self.growth_period)
        width, height = self.size[0] * scale, self.size[1] * scale
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def make_clip(seed: int, frames: int = 160) -> Clip:
    """Return the clip of a seed. One object leaves the image in its middle, and comes back."""
    choose = random.Random(seed)
    background = Image.open(PHOTOGRAPHS / "chelsea.png").convert("RGB").resize((900, 640))
    parts = [_part(*part, is_ellipse=index % 2 == 1) for index, part in enumerate(PARTS)]
    paths = [
        _Path(
            centre=(choose.uniform(220, 420), choose.uniform(180, 300)),
            radius=(choose.uniform(80, 200), choose.uniform(50, 130)),
            period=choose.uniform(110, 220) * choose.choice((-1, 1)),
            phase=choose.uniform(0, 2 * math.pi),
            growth=choose.uniform(1.1, 1.5),
            growth_period=choose.uniform(90, 160),
            leaves=max(frames // 2, 45) if index == 0 else None,
            size=(size := choose.uniform(56, 96), size * part.height / part.width),
        )
        for index, part in enumerate(parts)
    ]
    pan = choose.uniform(0.3, 0.8)
    made = [_draw(number, background, parts, paths, pan) for number in range(frames)]
    return Clip(frames=[frame for frame, _ in made], truths=[truth for _, truth in made])


def _part(name: str, cut: tuple[int, int, int, int], *, is_ellipse: bool) -> Image.Image:
    part = Image.open(PHOTOGRAPHS / f"{name}.png").convert("RGB").crop(cut)
    alpha = Image.new("L", part.size, 0 if is_ellipse else 255)
    if is_ellipse:
        ImageDraw.Draw(alpha).ellipse((0, 0, part.width - 1, part.height - 1), fill=255)
    part.putalpha(alpha)
    return part


def _draw(
    number: int,
    background: Image.Image,
    parts: list[Image.Image],
    paths: list[_Path],
    pan: float,
) -> tuple[np.ndarray[Any, Any], list[Truth]]:
    left = round(120 + 100 * math.sin(pan * number / 30))
    frame = background.crop((left, 80, left + WIDTH, 80 + HEIGHT))
    owners = np.full((HEIGHT, WIDTH), -1)  # which object is seen at each pixel
    boxes, areas = [], []
    for index, (part, path) in enumerate(zip(parts, paths, strict=True)):
        x0, y0, x1, y1 = path.box(number)
        at, size = (round(x0), round(y0)), (max(4, round(x1 - x0)), max(4, round(y1 - y0)))
        scaled = part.resize(size, Image.Resampling.BILINEAR)
        frame.paste(scaled, at, scaled)
        shown = np.asarray(scaled.getchannel("A")) > 127
        areas.append(int(shown.sum()))
        whole = np.zeros((HEIGHT, WIDTH), bool)
        top, first = max(at[1], 0), max(at[0], 0)
        inside = shown[top - at[1] : max(0, HEIGHT - at[1]), first - at[0] : max(0, WIDTH - at[0])]
        whole[top : top + inside.shape[0], first : first + inside.shape[1]] = inside
        owners[whole] = index
        boxes.append((float(at[0]), float(at[1]), float(at[0] + size[0]), float(at[1] + size[1])))
    light = ImageEnhance.Brightness(frame).enhance(1 + 0.15 * math.sin(number / 25))
    truths = [
        Truth(box=box, visible=float((owners == index).sum()) / area)
        for index, (box, area) in enumerate(zip(boxes, areas, strict=True))
    ]
    return np.asarray(light), truths


def cut(box: Any, clip: Clip) -> Box:
    """Return a box cut at the borders of the clip's images."""
    height, width = clip.frames[0].shape[:2]
    limits = (width, height, width, height)
    return [float(min(max(value, 0), most)) for value, most in zip(box, limits, strict=True)]


def iou(one: Box, two: Box) -> float:
    """Return the intersection over union of two boxes, 0 for empty ones."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return shared / (areas - shared) if areas > shared else 0.0
