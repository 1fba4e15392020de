"""RetinaNet R101 as a detector: prepares images, decodes anchors to labelled rectangles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common.answers import rectangle
from common.boxes import class_nms, clip
from common.checkpoints import load_strictly, read_parameters
from common.coco import COCO_80
from common.detection import answer_images_together
from common.images import resize
from common.torch_runtime import describe, half_precision, to_tensor, torch_device
from common.weights import weights_file
from network import CLASSES, RetinaNet
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Level = tuple[Tensor, Tensor, Tensor]

DEFAULT_THRESHOLD = 0.5
MAX_BATCH = 4
# CVAT's function.yaml spells the COCO names with underscores.
LABELS = tuple(name.replace(" ", "_") for name in COCO_80)

# Detectron2's configuration of this model (INPUT and MODEL.RETINANET, its model zoo 190397697).
SHORT_SIDE = 800  # pixels
LONG_SIDE = 1333  # pixels, at most
MEAN_BGR = (103.530, 116.280, 123.675)  # of 0..255
DIVISOR = 32  # of the padded sides
CANDIDATES_A_LEVEL = 1000
NMS_IOU = 0.5
MAX_DETECTIONS = 100
MAX_LOG_SCALE = math.log(1000 / 16)  # of a box delta, so that exp stays small

# Parts of the checkpoint that are constants in this code.
_CONSTANTS = ("anchor_generator.", "pixel_mean", "pixel_std")


@dataclass(frozen=True)
class Prepared:
    """One image as input of the network."""

    pixels: Tensor  # 3 x H x W, mean subtracted, padded with zeros to multiples of 32
    width: int  # of the scaled image inside, network pixels
    height: int
    image_width: int  # of the original image, pixels
    image_height: int


def load_network(path: Path) -> RetinaNet:
    """Load Detectron2's checkpoint into the network, by name and strictly."""
    parameters = read_parameters(path, within="model")
    trained = {name: value for name, value in parameters.items() if not name.startswith(_CONSTANTS)}
    network = RetinaNet()
    load_strictly(network, trained, source=path.name)
    return network.eval()


def scaled_size(width: int, height: int) -> tuple[int, int]:
    """Return the size that makes the short side 800 pixels and the long side 1333 at most."""
    scale = SHORT_SIDE / min(width, height)
    if scale * max(width, height) > LONG_SIDE:
        scale = LONG_SIDE / max(width, height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def prepare(image: Image) -> Prepared:
    """Scale an RGB image, turn it to BGR, subtract the mean and pad it at the right and bottom."""
    image_height, image_width = image.shape[:2]
    width, height = scaled_size(image_width, image_height)
    pixels = to_tensor(resize(image, width=width, height=height), bgr=True)
    pixels = pixels - torch.tensor(MEAN_BGR)[:, None, None]
    padded = functional.pad(pixels, (0, -width % DIVISOR, 0, -height % DIVISOR))
    return Prepared(padded, width, height, image_width, image_height)


def decode_deltas(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Apply box deltas (dx, dy, dw, dh) to their anchors; both n x 4, boxes as xyxy."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    sides = sides * deltas[:, 2:].clamp(max=MAX_LOG_SCALE).exp()
    return torch.cat([centres - 0.5 * sides, centres + 0.5 * sides], dim=1)


def candidates(level: Level, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and classes of one level's best pairs of anchor and class."""
    logits, deltas, anchors = level
    scores = logits.sigmoid().flatten()
    count = min(CANDIDATES_A_LEVEL, len(scores))
    best, places = scores.topk(count)
    places = places[best >= threshold]
    rows = torch.div(places, CLASSES, rounding_mode="floor")
    return decode_deltas(deltas[rows], anchors[rows]), scores[places], places % CLASSES


def select(levels: Sequence[Level], prepared: Prepared, threshold: float) -> list[dict[str, Any]]:
    """Turn the network's answer for one image into items in the image's own pixels."""
    parts = [candidates(level, threshold) for level in levels]
    boxes, scores, classes = (
        torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)
    )
    kept = class_nms(boxes, scores, classes, max_iou=NMS_IOU)[:MAX_DETECTIONS]
    scale = (prepared.image_width / prepared.width, prepared.image_height / prepared.height)
    placed = clip(
        boxes[kept] * (scale * 2), width=prepared.image_width, height=prepared.image_height
    )
    return [
        rectangle(LABELS[int(classes[index])], box, scores[index])
        for index, box in zip(kept, placed, strict=True)
        if box[2] > box[0] and box[3] > box[1]
    ]


def load() -> Detector:
    """Load the checkpoint (environment: MODEL_PATH)."""
    return Detector(load_network(weights_file("retinanet_r101.pkl", env="MODEL_PATH")))


class Detector:
    """The loaded network on its device."""

    def __init__(self, network: RetinaNet) -> None:
        self._device = torch_device()
        self._network = network.to(self._device)

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``image``, or of each of ``images``."""
        return answer_images_together(
            body, self.detect, default_threshold=DEFAULT_THRESHOLD, max_batch=MAX_BATCH
        )

    def detect(self, images: Sequence[Image], threshold: float) -> list[list[dict[str, Any]]]:
        """Return each image's items; images whose inputs have one size run as one batch."""
        prepared = [prepare(image) for image in images]
        groups: dict[torch.Size, list[int]] = defaultdict(list)
        for index, one in enumerate(prepared):
            groups[one.pixels.shape].append(index)
        answers: list[list[dict[str, Any]]] = [[] for _ in images]
        for members in groups.values():
            levels = self.run([prepared[index].pixels for index in members])
            for row, index in enumerate(members):
                own = [(logits[row], deltas[row], anchors) for logits, deltas, anchors in levels]
                answers[index] = select(own, prepared[index], threshold)
        return answers

    @torch.inference_mode()
    def run(self, pixels: Sequence[Tensor]) -> list[Level]:
        with half_precision(self._device):
            levels: list[Level] = self._network(torch.stack(list(pixels)).to(self._device))
        return levels
