"""SSDLite-MobileNet for persons, exported by TensorFlow's Object Detection API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.boxes import clip
from common.conversion import to_ir
from common.devices import OpenVinoNetwork
from common.images import resize
from common.tiling import Detections, detect_in_tiles, tiles_per_side
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

SOURCE = "ssdlite_person.pb"
WEIGHTS = "ssdlite_person_ir.xml"
PERSON_CLASS = 1
# The graph works at 300 x 300 but first copies the whole image as floats: large ones are shrunk.
MAX_SIDE = 1200


def convert(source: Path, target: Path) -> None:
    """Write the network in OpenVINO's format: it loads in half the time of the frozen graph."""
    to_ir(source / SOURCE, target / WEIGHTS)


class SsdLite:
    """The network: finds boxes and scores of persons on an RGB image of any size."""

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network
        self._tiles = tiles_per_side()

    @classmethod
    def load(cls) -> SsdLite:
        """Load the converted weights (environment: SSDLITE_MODEL_PATH)."""
        return cls(OpenVinoNetwork(weights_file(WEIGHTS, env="SSDLITE_MODEL_PATH")))

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def persons(self, image: NDArray[np.uint8], threshold: float) -> Detections:
        """Return the persons with a score of at least ``threshold``."""
        return detect_in_tiles(
            image, lambda part: self._persons(part, threshold), per_side=self._tiles
        )

    def _persons(self, image: NDArray[np.uint8], threshold: float) -> Detections:
        # Resizing to the network's 300x300 and non-maximum suppression are parts of the graph.
        outputs = self._network.run_named(**{"image_tensor:0": shrunk(image)[None]})
        height, width = image.shape[:2]
        return select(
            outputs["detection_boxes:0"][0],
            outputs["detection_scores:0"][0],
            outputs["detection_classes:0"][0],
            width=width,
            height=height,
            threshold=threshold,
        )


def shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image with its longer side at most MAX_SIDE; boxes are fractions of it."""
    height, width = image.shape[:2]
    ratio = min(1.0, MAX_SIDE / max(height, width))
    size = {"width": max(1, round(width * ratio)), "height": max(1, round(height * ratio))}
    return resize(image, **size)


def select(
    boxes: Floats, scores: Floats, classes: Floats, *, width: int, height: int, threshold: float
) -> Detections:
    """Return the persons of the graph's boxes: top, left, bottom, right as fractions."""
    in_pixels = boxes[:, [1, 0, 3, 2]] * np.array([width, height, width, height])
    in_pixels = clip(in_pixels, width=width, height=height)
    whole = (in_pixels[:, 2:] > in_pixels[:, :2]).all(axis=1)
    kept = whole & (scores >= threshold) & (classes.round() == PERSON_CLASS)
    order = np.flatnonzero(kept)[np.argsort(-scores[kept], kind="stable")]
    return Detections(in_pixels[order], scores[order], np.zeros(len(order), dtype=np.intp))
