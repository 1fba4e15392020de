"""TransT as a tracker: patches of the object and its surroundings, and the choice of the box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common.checkpoints import load_strictly, read_parameters
from common.errors import BadInput
from common.images import crop, mean_colour
from common.state import pack_array, unpack_array
from common.torch_runtime import describe, half_precision, to_tensor, torch_device
from common.tracking import BoxTracker, read_numbers, track
from common.weights import weights_file
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
WINDOW_WEIGHT = 0.49  # of the Hann window; the scores have the rest. CVAT has the same value.
MIN_START_SIDE = 1.0  # of a box to start from, pixels
SMALLEST_SIDE = 10.0  # of a found box, pixels
MEAN = (0.485, 0.456, 0.406)  # of red, green and blue, ImageNet
DEVIATION = (0.229, 0.224, 0.225)
OBJECTS_AT_ONCE = 8  # bounds the memory of one pass through the network


@dataclass(frozen=True)
class Target:
    """One object: its box, and its pixels on the frame where it was marked."""

    centre: tuple[float, float]  # x, y in pixels of the image
    size: tuple[float, float]  # width, height in pixels
    template: Image  # 128 x 128 x 3, RGB
    fill: tuple[int, int, int]  # mean colour of the first image, for what lies outside an image

    @property
    def box(self) -> Floats:
        """Return x0, y0, x1, y1 in pixels; it may reach beyond the image."""
        centre, half = np.array(self.centre), np.array(self.size) / 2
        return np.concatenate([centre - half, centre + half])


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
    # Whole pixels, as in the authors' code.
    left, top = (math.floor(value - (side + 1) / 2 + 0.5) for value in centre)
    box = (left, top, left + side, top + side)
    return crop(image, box, width=pixels, height=pixels, fill=fill)


def normalise(patches: Sequence[Image]) -> Tensor:
    """Turn RGB patches into the network's input, N x 3 x side x side."""
    pixels = torch.stack([to_tensor(patch) for patch in patches]) / 255
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return (pixels - mean[:, None, None]) / deviation[:, None, None]


def choose(scores: Floats, boxes: Floats) -> Floats:
    """Return the best box (centre x, y, width, height in 0..1 of the search patch).

    ``scores`` has one value per cell, row by row. The Hann window prefers cells near the middle.
    """
    window = np.outer(np.hanning(CELLS), np.hanning(CELLS)).ravel()
    ranked = scores * (1 - WINDOW_WEIGHT) + window * WINDOW_WEIGHT
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


def load() -> Tracker:
    """Load the checkpoint (environment: MODEL_PATH)."""
    return Tracker(load_network(weights_file("transt.pth", env="MODEL_PATH")))


class Tracker(BoxTracker[Target]):
    """The loaded network on its device."""

    min_side = MIN_START_SIDE
    state_version = 1

    def __init__(self, network: TransT) -> None:
        self._device = torch_device()
        self._network = network.to(self._device)

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer where each object of ``shapes`` and ``states`` is on ``image``."""
        return track(body, self)

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
        found = self.run([target.template for target in targets], patches)
        return [
            moved(target, choose(scores, boxes), side, width=width, height=height)
            for target, side, (scores, boxes) in zip(targets, sides, found, strict=True)
        ]

    def box(self, target: Target) -> Floats:
        """Return the target's box in pixels."""
        return target.box

    def write_state(self, target: Target) -> dict[str, Any]:
        """Return a target as JSON."""
        return {
            "centre": list(target.centre),
            "size": list(target.size),
            "fill": list(target.fill),
            "template": pack_array(target.template, "uint8"),
        }

    def read_state(self, state: dict[str, Any], name: str) -> Target:
        """Return the target of a state; raise BadInput, naming ``name``, if it is damaged."""
        template = unpack_array(state.get("template"), name=f"{name}.template")
        if template.shape != (TEMPLATE_SIDE, TEMPLATE_SIDE, 3) or template.dtype != np.uint8:
            raise BadInput(f"'{name}.template' has shape {template.shape}; send the shape instead")
        centre = read_numbers(state.get("centre"), f"{name}.centre", count=2)
        size = read_numbers(state.get("size"), f"{name}.size", count=2)
        fill = read_numbers(state.get("fill"), f"{name}.fill", count=3).clip(0, 255)
        if (size <= 0).any():
            raise BadInput(f"'{name}.size' is not positive; send the shape instead")
        return Target(
            centre=(float(centre[0]), float(centre[1])),
            size=(float(size[0]), float(size[1])),
            template=template,
            fill=(int(fill[0]), int(fill[1]), int(fill[2])),
        )

    @torch.inference_mode()
    def run(
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


def _side(found: float, limit: int) -> float:
    return float(max(SMALLEST_SIDE, min(found, limit)))
