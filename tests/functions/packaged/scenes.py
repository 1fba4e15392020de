"""Pictures composed of the sample photographs, with known positions of the objects."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from tests.functions.packaged.photographs import photograph

Frame = tuple[np.ndarray[Any, Any], list[list[float]]]

# For the tracker.
FRAMES = 16
# For re-identification: three objects, each with its source crop and its box on the first frame.
THINGS = (
    ("astronaut", (60, 60, 340, 500), (40, 60, 130, 240)),
    ("camera", (30, 70, 310, 510), (240, 80, 330, 260)),
    ("coffee", (160, 10, 420, 310), (430, 100, 520, 280)),
)
SHIFT = (12, -9)


def crossing() -> list[Frame]:
    """Return frames on which the astronaut's head and the cup cross the picture of the cat."""
    background = Image.fromarray(photograph("chelsea")).resize((640, 480))
    head = Image.fromarray(photograph("astronaut")).crop((170, 40, 290, 200))
    cup = Image.fromarray(photograph("coffee")).crop((170, 15, 410, 305))
    frames: list[Frame] = []
    for number in range(FRAMES):
        frame = background.copy()
        growth = 1 + 0.015 * number
        sides = round(72 * growth), round(96 * growth)
        at = 60 + 9 * number, round(150 + 50 * np.sin(number / 5))
        frame.paste(head.resize(sides), at)
        cup_at = 480 - 7 * number, 330
        frame.paste(cup.resize((80, 97)), cup_at)
        boxes: list[list[float]] = [
            [*at, at[0] + sides[0], at[1] + sides[1]],
            [*cup_at, cup_at[0] + 80, cup_at[1] + 97],
        ]
        frames.append((np.array(frame), boxes))
    return frames


def things(brightness: float, shift: tuple[int, int], places: int = 0) -> np.ndarray[Any, Any]:
    """Return the three objects on a picture of the cat, with this brightness and shift.

    Each object is at the position of the object `places` positions later.
    """
    picture = Image.fromarray(photograph("chelsea")).resize((600, 360))
    for (name, cut, _), box in zip(THINGS, thing_boxes(shift, places), strict=True):
        size = (box[2] - box[0], box[3] - box[1])
        thing = Image.fromarray(photograph(name)).crop(cut).resize(size)
        picture.paste(ImageEnhance.Brightness(thing).enhance(brightness), (box[0], box[1]))
    return np.array(picture)


def thing_boxes(shift: tuple[int, int], places: int = 0) -> list[list[int]]:
    """Return the boxes of the three objects on such a picture, in their order."""
    boxes = [box for _, _, box in THINGS]
    return [
        [x0 + shift[0], y0 + shift[1], x1 + shift[0], y1 + shift[1]]
        for x0, y0, x1, y1 in (*boxes[places:], *boxes[:places])
    ]
