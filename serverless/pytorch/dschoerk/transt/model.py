"""TransT as a tracker: an object and its surroundings to patches, scores to the object's box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from common.checkpoints import load_strictly, read_parameters
from common.images import crop, mean_colour
from common.torch_runtime import describe, half_precision, to_tensor, torch_device
from network import STRIDE, TransT
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Floats = NDArray[np.float64]

TEMPLATE_SIDE = 128  # pixels of the template patch
SEARCH_SIDE = 256  # pixels of the search patch
TEMPLATE_MARGIN = 1  # around the object, in means of its width and height
SEARCH_MARGIN = 3
CELLS = SEARCH_SIDE // STRIDE  # of the search patch, a side
# Settings of the tracker as CVAT runs it.
CHANGE_PENALTY = 0.204
WINDOW_WEIGHT = 0.49
SMALLEST_SIDE = 10.0  # of a found box, pixels
MEAN = (0.485, 0.456, 0.406)  # of red, green and blue, ImageNet
DEVIATION = (0.229, 0.224, 0.225)
OBJECTS_AT_ONCE = 8  # bounds the memory of one pass through the network


@dataclass(frozen=True)
class Target:
    """One object: where it is, and what it looked like when it was marked."""

    centre: tuple[float, float]  # x, y in pixels of the image
    size: tuple[float, float]  # width, height in pixels
    template: Image  # 128 x 128 x 3, RGB
    fill: tuple[int, int, int]  # mean colour of the first image, for what lies outside an image


def load_network(path: Path) -> TransT:
    """Load the official checkpoint, by name and strictly."""
    network = TransT()
    load_strictly(network, read_parameters(path, within="net"), source=path.name)
    return network.eval()


def patch_side(size: tuple[float, float], margin: float) -> int:
    """Return the side of the square around an object with its margin, in whole image pixels."""
    added = margin * (size[0] + size[1]) / 2
    return max(1, math.ceil(math.sqrt((size[0] + added) * (size[1] + added))))


def cut(
    image: Image,
    centre: tuple[float, float],
    side: int,
    *,
    pixels: int,
    fill: tuple[int, int, int],
) -> Image:
    """Cut the square of `side` image pixels around a point, made `pixels` wide."""
    # Whole pixels, as the network's authors cut them.
    left, top = (math.floor(value - (side + 1) / 2 + 0.5) for value in centre)
    box = (left, top, left + side, top + side)
    return crop(image, box, width=pixels, height=pixels, fill=fill)


def normalise(patches: Sequence[Image]) -> Tensor:
    """Turn RGB patches into the network's input, N x 3 x side x side."""
    pixels = torch.stack([to_tensor(patch) for patch in patches]) / 255
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return (pixels - mean[:, None, None]) / deviation[:, None, None]


def choose(scores: Floats, boxes: Floats, size: tuple[float, float], side: int) -> Floats:
    """Return the best box (centre x, y, width, height in 0..1 of the search patch).

    `scores` are a cell each, row by row. A box that changes size or shape loses, one far from the
    middle loses.
    """
    before = np.array(size) / side
    widths, heights = np.maximum(boxes[:, 2], 1e-6), np.maximum(boxes[:, 3], 1e-6)
    scale = _change(_extent(widths, heights) / _extent(before[0], before[1]))
    shape = _change((before[0] / before[1]) / (widths / heights))
    penalty = np.exp(-(shape * scale - 1) * CHANGE_PENALTY)
    window = np.outer(np.hanning(CELLS), np.hanning(CELLS)).ravel()
    ranked = scores * penalty * (1 - WINDOW_WEIGHT) + window * WINDOW_WEIGHT
    return np.asarray(boxes[int(ranked.argmax())])


def moved(target: Target, box: Floats, side: int, *, width: int, height: int) -> Target:
    """Return the target at a box of its search patch, kept within the image."""
    x, y = box[:2] * side + np.array(target.centre) - side / 2
    wide, high = box[2:] * side
    return Target(
        centre=(float(np.clip(x, 0, width)), float(np.clip(y, 0, height))),
        size=(_side(wide, width), _side(high, height)),
        template=target.template,
        fill=target.fill,
    )


def rectangle(target: Target, *, width: int, height: int) -> list[float]:
    """Return the target's box x0, y0, x1, y1, cut at the image's borders."""
    (x, y), (wide, high) = target.centre, target.size
    corners = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    return [
        round(float(np.clip(value, 0, limit)), 2)
        for value, limit in zip(corners, (width, height) * 2, strict=True)
    ]


class Tracker:
    """The loaded network on its device; keeps nothing between calls."""

    def __init__(self, network: TransT) -> None:
        self._device = torch_device()
        self._network = network.to(self._device)

    @property
    def device(self) -> str:
        """Return what runs it, for the log."""
        return describe(self._device)

    def start(self, image: Image, boxes: Sequence[Floats]) -> list[Target]:
        """Return a target for each box (x0, y0, x1, y1)."""
        fill = mean_colour(image)
        targets = []
        for box in boxes:
            centre = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
            size = (float(box[2] - box[0]), float(box[3] - box[1]))
            side = patch_side(size, TEMPLATE_MARGIN)
            template = cut(image, centre, side, pixels=TEMPLATE_SIDE, fill=fill)
            targets.append(Target(centre=centre, size=size, template=template, fill=fill))
        return targets

    def follow(self, image: Image, targets: Sequence[Target]) -> list[Target]:
        """Return each target where it is on the next image; all go through as batches."""
        height, width = image.shape[:2]
        sides = [patch_side(target.size, SEARCH_MARGIN) for target in targets]
        patches = [
            cut(image, target.centre, side, pixels=SEARCH_SIDE, fill=target.fill)
            for target, side in zip(targets, sides, strict=True)
        ]
        found = self._run([target.template for target in targets], patches)
        return [
            moved(
                target, choose(scores, boxes, target.size, side), side, width=width, height=height
            )
            for target, side, (scores, boxes) in zip(targets, sides, found, strict=True)
        ]

    @torch.inference_mode()
    def _run(
        self, templates: Sequence[Image], searches: Sequence[Image]
    ) -> list[tuple[Floats, Floats]]:
        """Return scores and boxes of each pair of patches."""
        answers: list[tuple[Floats, Floats]] = []
        for first in range(0, len(templates), OBJECTS_AT_ONCE):
            members = slice(first, first + OBJECTS_AT_ONCE)
            with half_precision(self._device):
                scores, boxes = self._network(
                    normalise(templates[members]).to(self._device),
                    normalise(searches[members]).to(self._device),
                )
            columns = (scores.double().cpu().numpy(), boxes.double().cpu().numpy())
            answers += list(zip(*columns, strict=True))
        return answers


def _extent(width: Floats, height: Floats) -> Floats:
    """Return the side of the square that a box with its margin has (the margin of a template)."""
    margin = (width + height) / 2
    return np.asarray(np.sqrt((width + margin) * (height + margin)))


def _change(ratio: Floats) -> Floats:
    return np.asarray(np.maximum(ratio, 1 / ratio))


def _side(found: float, limit: int) -> float:
    return float(max(SMALLEST_SIDE, min(found, limit)))
