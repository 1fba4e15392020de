"""Whole-body poses: crops of people, heat maps of 133 points, four skeletons of the points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import people
import torch
from common.checkpoints import load_strictly, read_parameters
from common.detection import answer_image
from common.images import crop
from common.torch_runtime import describe, half_precision, to_tensor, torch_device
from common.weights import weights_file
from hrnet import PoseNetwork
from keypoints import MIRRORED, SKELETONS
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

DEFAULT_THRESHOLD = 0.55
WIDTH, HEIGHT = 192, 256  # pixels of a crop
CELL = 4  # pixels of a crop in one cell of a heat map
PADDING = 1.25  # of a person's box
MEAN = (123.675, 116.28, 103.53)  # of red, green and blue, ImageNet
DEVIATION = (58.395, 57.12, 57.375)
PEOPLE_AT_ONCE = 8  # bounds the memory of one pass through the network
_CONSTANTS = ("data_preprocessor.",)


def load_network(path: Path) -> PoseNetwork:
    """Load MMPose's checkpoint, by name and strictly."""
    parameters = read_parameters(path, within="state_dict")
    trained = {name: value for name, value in parameters.items() if not name.startswith(_CONSTANTS)}
    network = PoseNetwork()
    load_strictly(network, trained, source=path.name)
    return network.eval()


def pad_box(box: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre and size (x, y) of a box, enlarged by 1.25 and to the crop's proportions."""
    centre = (box[:2] + box[2:]) / 2
    width, height = (float(side) * PADDING for side in box[2:] - box[:2])
    ratio = WIDTH / HEIGHT
    if width > height * ratio:
        height = width / ratio
    else:
        width = height * ratio
    return np.asarray(centre, dtype=np.float64), np.array([width, height])


def cut(image: Image, centre: NDArray[np.float64], size: NDArray[np.float64]) -> Image:
    """Cut a padded box out, 256 x 192, black outside the image.

    The middle of the crop's pixel (96, 128) is the middle of the image's pixel `centre`, as in
    MMPose; `crop` counts from the corners of pixels, hence the halves.
    """
    scale = size / (WIDTH, HEIGHT)
    first = centre - size / 2 + 0.5 * (1 - scale)
    # Rounded: a rounding error below a whole pixel would darken every value by one.
    left, top, right, bottom = (round(float(value), 6) for value in (*first, *(first + size)))
    return crop(image, (left, top, right, bottom), width=WIDTH, height=HEIGHT)


def normalise(crops: Sequence[Image]) -> Tensor:
    """Turn RGB crops into the network's input, N x 3 x 256 x 192."""
    pixels = torch.stack([to_tensor(one) for one in crops])
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return (pixels - mean[:, None, None]) / deviation[:, None, None]


def unmirror(maps: Tensor) -> Tensor:
    """Return the heat maps of mirrored crops as those of the crops: swap sides, reverse columns.

    They are moved by one cell, because the cells of a mirrored crop begin at its other end.
    """
    turned = maps.flip(-1)[:, list(MIRRORED)]
    return torch.cat([turned[..., :1], turned[..., :-1]], dim=-1)


def locate(maps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return each heat map's point (x, y in pixels of the crop) and score; maps are K x H x W.

    The best cell, moved by a quarter towards its higher neighbour on each axis.
    """
    count, height, width = maps.shape
    flat = maps.reshape(count, -1)
    best = flat.argmax(axis=1)
    scores = flat[np.arange(count), best]
    y, x = np.divmod(best, width)
    # A point without any evidence gets MMPose's coordinate, which is outside the crop.
    x, y = np.where(scores > 0, x, -1), np.where(scores > 0, y, -1)
    rows = np.arange(count)
    left, right = maps[rows, y, x - 1], maps[rows, y, np.minimum(x + 1, width - 1)]
    above, below = maps[rows, y - 1, x], maps[rows, np.minimum(y + 1, height - 1), x]
    shift_x = np.where((x > 1) & (x < width - 1) & (y > 0), np.sign(right - left), 0)
    shift_y = np.where((y > 1) & (y < height - 1) & (x > 0), np.sign(below - above), 0)
    points = np.stack([x + 0.25 * shift_x, y + 0.25 * shift_y], axis=1) * CELL
    return points.astype(np.float64), scores


def skeletons(
    points: NDArray[np.floating], scores: NDArray[np.floating], person: float, threshold: float
) -> list[dict[str, Any]]:
    """Return one person's skeletons. Points below the threshold are outside; one must be above."""
    items = []
    for name, numbers in SKELETONS.items():
        elements = [
            {
                "label": str(place + 1),
                "type": "points",
                "outside": int(not scores[number] > threshold),
                "points": [round(float(value), 2) for value in points[number]],
                "confidence": round(float(np.clip(scores[number], 0, 1)), 4),
            }
            for place, number in enumerate(numbers)
        ]
        if not all(element["outside"] for element in elements):
            items.append(
                {
                    "label": name,
                    "type": "skeleton",
                    "confidence": round(person, 4),
                    "elements": elements,
                }
            )
    return items


def load() -> PoseDetector:
    """Load both checkpoints (environment: DETECTOR_MODEL_PATH, MODEL_PATH)."""
    finder = people.load_network(weights_file("rtmdet_nano_person.pth", env="DETECTOR_MODEL_PATH"))
    network = load_network(weights_file("hrnet_w32_ubody.pth", env="MODEL_PATH"))
    return PoseDetector(people.PersonDetector(finder), network)


class PoseDetector:
    """The two loaded networks."""

    def __init__(self, finder: people.PersonDetector, network: PoseNetwork) -> None:
        self.finder = finder
        self._device = torch_device()
        self.network = network.to(self._device)

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the skeletons of the people in ``image``."""
        return answer_image(body, self.detect, default_threshold=DEFAULT_THRESHOLD)

    def detect(self, image: Image, threshold: float) -> list[dict[str, Any]]:
        """Return up to four skeletons of each person."""
        boxes, likelihoods = self.finder.detect(image)
        items: list[dict[str, Any]] = []
        for first in range(0, len(boxes), PEOPLE_AT_ONCE):
            poses = self.poses(image, boxes[first : first + PEOPLE_AT_ONCE])
            for (points, scores), person in zip(poses, likelihoods[first:], strict=False):
                items += skeletons(points, scores, float(person), threshold)
        return items

    def poses(
        self, image: Image, boxes: NDArray[np.floating]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """Return the 133 points (x, y in the image's pixels) and scores of each box."""
        padded = [pad_box(box) for box in boxes]
        maps = self.heat_maps(normalise([cut(image, *one) for one in padded]))
        found = []
        for (centre, size), own in zip(padded, maps, strict=True):
            points, scores = locate(own)
            found.append((points / (WIDTH, HEIGHT) * size + centre - size / 2, scores))
        return found

    @torch.inference_mode()
    def heat_maps(self, crops: Tensor) -> NDArray[np.float32]:
        """Return the mean of the heat maps of crops and of their mirror images."""
        crops = crops.to(self._device)
        with half_precision(self._device):
            maps = self.network(crops)
            mirrored = self.network(crops.flip(-1))
        joined: Tensor = (maps.float() + unmirror(mirrored.float())) / 2
        return joined.cpu().numpy()
