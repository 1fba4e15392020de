"""Inside-Outside Guidance as an interactor: a box and points to a mask and its polygon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common.checkpoints import load_strictly, read_parameters
from common.errors import BadInput
from common.images import decode_image
from common.inputs import read_box, read_points, read_threshold
from common.masks import interactor_answer
from common.torch_runtime import describe, half_precision, torch_device
from common.weights import weights_file
from network import SIDE, Iog
from PIL import Image as Pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

# CVAT's function compares the network's logit with 0.8; this is that as a probability.
DEFAULT_THRESHOLD = 1 / (1 + math.exp(-0.8))
MARGIN = 30  # pixels around the box, as the authors crop
SPREAD = 10.0  # pixels of the network's input at half the height of a point's bump


@dataclass(frozen=True)
class Prompt:
    """The box and the clicks of a person, in pixels of the image."""

    box: tuple[float, float, float, float] | None  # x0, y0, x1, y1; None: the whole image
    inside: NDArray[np.float64]  # (n, 2)
    outside: NDArray[np.float64]  # (n, 2)


@dataclass(frozen=True)
class Crop:
    """The part of the image that the network gets; right and bottom are inclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Return the number of columns."""
        return self.right - self.left + 1

    @property
    def height(self) -> int:
        """Return the number of rows."""
        return self.bottom - self.top + 1

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points of the image to the network's input."""
        scale = (SIDE / self.width, SIDE / self.height)
        return (points - (self.left, self.top)) * scale


def load_network(path: Path) -> Iog:
    """Load the authors' checkpoint, by name and strictly."""
    network = Iog()
    load_strictly(network, read_parameters(path), source=path.name)
    return network.eval()


def read_prompt(body: dict[str, Any]) -> Prompt:
    """Return the box and the points of a body; raise BadInput without a positive point.

    Without a box, two or more negative points that have all positive points between them are the
    corners of the box, and no negative points. Otherwise there is no box.
    """
    box = read_box(body)
    inside, outside = read_points(body, "pos_points"), read_points(body, "neg_points")
    if not len(inside):
        raise BadInput("'pos_points' is empty; click on the object inside the box")
    if box is None and _surround(outside, inside):
        box = np.concatenate([outside.min(axis=0), outside.max(axis=0)])
        outside = outside[:0]
    if box is None:
        return Prompt(box=None, inside=inside, outside=outside)
    corners = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return Prompt(box=corners, inside=inside, outside=outside)


def _surround(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> bool:
    """Return whether all inner points lie inside the bounding box of the outer ones."""
    if len(outer) < 2:
        return False
    return bool(((inner > outer.min(axis=0)) & (inner < outer.max(axis=0))).all())


def choose_crop(prompt: Prompt, *, width: int, height: int) -> Crop:
    """Return the crop for the network: the box with its margin, or the whole image without a box.

    Raises BadInput when the box lies outside the image.
    """
    if prompt.box is not None:
        return crop_around(prompt.box, width=width, height=height)
    return Crop(left=0, top=0, right=width - 1, bottom=height - 1)


def crop_around(box: tuple[float, float, float, float], *, width: int, height: int) -> Crop:
    """Return the crop of a box with its margin; raise BadInput when it lies outside the image."""
    left, top, right, bottom = box
    if right < 0 or bottom < 0 or left > width - 1 or top > height - 1:
        raise BadInput("'obj_bbox' lies outside the image")
    return Crop(
        left=max(int(left) - MARGIN, 0),
        top=max(int(top) - MARGIN, 0),
        right=min(int(right) + MARGIN, width - 1),
        bottom=min(int(bottom) + MARGIN, height - 1),
    )


def bumps(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a map with a bump of height 1 at each point (x, y in the input), SIDE x SIDE."""
    steps = np.arange(SIDE, dtype=np.float64)
    whole = np.zeros((SIDE, SIDE))
    for x, y in points:
        across, down = ((steps - value) ** 2 for value in (x, y))
        whole = np.maximum(whole, np.exp(-4 * math.log(2) * (across + down[:, None]) / SPREAD**2))
    return whole.astype(np.float32)


def prepare(image: Image, crop: Crop, prompt: Prompt) -> NDArray[np.float32]:
    """Make the network's input, 1 x 5 x SIDE x SIDE: colours, inside and outside, 0 to 255."""
    part = image[crop.top : crop.bottom + 1, crop.left : crop.right + 1]
    # Nearest pixels, as in CVAT's function.
    rows = np.arange(SIDE) * crop.height // SIDE
    columns = np.arange(SIDE) * crop.width // SIDE
    colours = part[rows][:, columns].transpose(2, 0, 1).astype(np.float32)
    guidance = np.stack([bumps(crop.place(prompt.inside)), bumps(crop.place(prompt.outside))])
    highest = float(guidance.max())
    if highest <= 0:
        raise BadInput("none of 'pos_points' lies near the box or the image; click inside it")
    return np.concatenate([colours, guidance * np.float32(255 / highest)])[None]


def enlarge(probabilities: NDArray[np.float32], crop: Crop, threshold: float) -> NDArray[np.bool_]:
    """Return the mask of the crop: probabilities, enlarged bilinearly, above the threshold."""
    small = Pillow.fromarray(probabilities.astype(np.float32))
    part = np.asarray(small.resize((crop.width, crop.height), Pillow.Resampling.BILINEAR))
    return part > threshold


def load() -> Interactor:
    """Load the checkpoint (environment: MODEL_PATH)."""
    return Interactor(load_network(weights_file("IOG_PASCAL_SBD.pth", env="MODEL_PATH")))


class Interactor:
    """The loaded network on its device."""

    def __init__(self, network: Iog) -> None:
        self._device = torch_device()
        self.network = network.to(self._device)

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer the mask, its bounds and its polygon."""
        prompt = read_prompt(body)
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        mask, crop = self.mask(decode_image(body.get("image")), prompt, threshold)
        return interactor_answer(mask, at=(crop.left, crop.top))

    def mask(
        self, image: Image, prompt: Prompt, threshold: float
    ) -> tuple[NDArray[np.bool_], Crop]:
        """Return the mask of the object in the network's crop, and the crop."""
        height, width = image.shape[:2]
        crop = choose_crop(prompt, width=width, height=height)
        return enlarge(self._run(prepare(image, crop, prompt)), crop, threshold), crop

    @torch.inference_mode()
    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with half_precision(self._device):
            logits = self.network(torch.from_numpy(inputs).to(self._device))
        probabilities: NDArray[np.float32] = logits[0, 0].float().sigmoid().cpu().numpy()
        return probabilities
