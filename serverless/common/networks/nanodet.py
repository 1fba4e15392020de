"""NanoDet-g (RangiLyu/nanodet), 416x416, the 80 classes of COCO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.boxes import class_nms, clip
from common.conversion import graph_model_to_ir
from common.devices import OpenVinoNetwork
from common.images import resize
from common.tiling import Detections, detect_in_tiles, tiles_per_side
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

SOURCE = "nanodet.json"
WEIGHTS = "nanodet_ir.xml"
SIDE = 416  # of the input, pixels
# Of blue, green and red, as the network was trained.
MEAN = np.array([103.53, 116.28, 123.675], dtype=np.float32)
DEVIATION = np.array([57.375, 57.12, 58.395], dtype=np.float32)
LEVELS = 3  # of the feature pyramid: strides 8, 16, 32
BINS = 11  # of the distribution of each side's distance (0..10 strides)
MAX_IOU = 0.6
# These bound the work for one image when the threshold is 0.
MAX_CANDIDATES = 1000
MAX_DETECTIONS = 100


def convert(source: Path, target: Path) -> None:
    """Write the network in OpenVINO's format from the published TensorFlow.js files."""
    graph_model_to_ir(source / SOURCE, target / WEIGHTS)


class NanoDet:
    """The network: finds boxes with class and score on an RGB image of any size."""

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network
        self._tiles = tiles_per_side()

    @classmethod
    def load(cls) -> NanoDet:
        """Load the converted weights (environment: NANODET_MODEL_PATH)."""
        return cls(OpenVinoNetwork(weights_file(WEIGHTS, env="NANODET_MODEL_PATH")))

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def detect(self, image: NDArray[np.uint8], threshold: float) -> Detections:
        """Return the objects with a score of at least ``threshold``; classes index COCO_80."""
        return detect_in_tiles(
            image, lambda part: self._detect(part, threshold), per_side=self._tiles
        )

    def _detect(self, image: NDArray[np.uint8], threshold: float) -> Detections:
        """Return at most 100 objects of an image or a tile, after suppression."""
        outputs = [output[0] for output in self._network(prepare(image))]
        boxes, scores = decode(outputs[:LEVELS], outputs[LEVELS:], threshold)
        height, width = image.shape[:2]
        return select(
            clip(
                boxes * np.array([width, height, width, height]) / SIDE, width=width, height=height
            ),
            scores,
            threshold,
        )


def prepare(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the input (1, 3, 416, 416): stretched to a square, blue first, normalised."""
    stretched = resize(image, width=SIDE, height=SIDE)
    planes = stretched.transpose(2, 0, 1)[None, ::-1].astype(np.float32, order="C")
    planes -= MEAN[:, None, None]
    planes /= DEVIATION[:, None, None]
    return planes


def decode(
    scores: list[Floats], distributions: list[Floats], threshold: float = 0.0
) -> tuple[Floats, Floats]:
    """Return boxes (n, 4) in input pixels and scores (n, 80) of the positions of all levels.

    Positions without a score of at least ``threshold`` are left out. Each side's distance from the
    cell's centre is the expectation of a distribution over 0..10 strides (generalised focal loss,
    arXiv:2006.04388).
    """
    boxes, kept_scores = [], []
    for level_scores, distribution in zip(scores, distributions, strict=True):
        cells = round(level_scores.shape[0] ** 0.5)
        stride = SIDE / cells
        kept = np.flatnonzero(level_scores.max(axis=1) >= threshold)
        rows, columns = np.divmod(kept, cells)
        centres = np.stack([columns, rows], axis=1) * stride + stride / 2
        sides = _expectation(distribution[kept].reshape(-1, 4, BINS)) * stride
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1))
        kept_scores.append(level_scores[kept])
    return np.concatenate(boxes), np.concatenate(kept_scores)


def select(boxes: Floats, scores: Floats, threshold: float) -> Detections:
    """Keep the best class of each position, then the best boxes of each class."""
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    sized = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    candidates = np.flatnonzero((best >= threshold) & sized)
    candidates = candidates[np.argsort(-best[candidates], kind="stable")][:MAX_CANDIDATES]
    kept = candidates[
        class_nms(boxes[candidates], best[candidates], classes[candidates], max_iou=MAX_IOU)
    ][:MAX_DETECTIONS]
    return Detections(boxes=boxes[kept], scores=best[kept], classes=classes[kept])


def _expectation(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray((weights * np.arange(BINS)).sum(axis=-1) / weights.sum(axis=-1))
