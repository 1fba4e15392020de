"""Re-identification by appearance: MobileNetV2 features and a histogram of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from common.devices import OpenVinoNetwork
from common.images import crop
from common.matching import answer_match
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

DEFAULT_THRESHOLD = 0.3  # of the cosine distance
WEIGHTS = "mobilenet_v2_pooled_ir.xml"
WIDTH, HEIGHT = 128, 256  # of a patch, pixels: standing persons
STRIPES = 4  # of the histogram, from top to bottom
HUE_BINS, SATURATION_BINS = 12, 8
BATCH = 32  # patches that go through the network at once


def load() -> Matcher:
    """Load the converted network (environment: MOBILENET_V2_POOLED_PATH)."""
    return Matcher(OpenVinoNetwork(weights_file(WEIGHTS, env="MOBILENET_V2_POOLED_PATH")))


class Matcher:
    """Finds the same objects on another image."""

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer, for each of ``boxes0``, the index of the same object in ``boxes1``, or -1."""
        return answer_match(body, self.embed, default_threshold=DEFAULT_THRESHOLD)

    def embed(self, image: NDArray[np.uint8], boxes: Sequence[dict[str, Any]]) -> Floats:
        """Return an embedding for each box: network features, then colours, of equal norm."""
        patches = [_patch(image, box) for box in corners(boxes)]
        batches = [
            self._network(np.stack(patches[first : first + BATCH]))[0]
            for first in range(0, len(patches), BATCH)
        ]
        colours = np.stack([histogram(patch) for patch in patches])
        # Two unit vectors side by side: their cosine is the mean of both cosines.
        return np.concatenate([_unit(np.concatenate(batches)), _unit(colours)], axis=1)


def corners(boxes: Sequence[dict[str, Any]]) -> Floats:
    """Return the boxes as (n, 4): x0, y0, x1, y1 in order, at least a pixel wide."""
    points = np.array([box["points"] for box in boxes], dtype=np.float64).reshape(-1, 4)
    low = np.minimum(points[:, :2], points[:, 2:])
    high = np.maximum(np.maximum(points[:, :2], points[:, 2:]), low + 1)
    return np.concatenate([low, high], axis=1)


def histogram(patch: NDArray[np.uint8]) -> Floats:
    """Return how often each hue and saturation occurs, a histogram for each stripe."""
    colours = cv2.cvtColor(patch, cv2.COLOR_RGB2HSV_FULL)  # hue and saturation from 0 to 255
    bins, values = [HUE_BINS, SATURATION_BINS], [0, 256, 0, 256]
    counts = [
        cv2.calcHist([stripe], [0, 1], None, bins, values).ravel()
        for stripe in np.array_split(colours, STRIPES)
    ]
    return np.concatenate(counts).astype(np.float64)


def _patch(image: NDArray[np.uint8], box: Floats) -> NDArray[np.uint8]:
    left, top, right, bottom = (float(value) for value in box)
    return crop(image, (left, top, right, bottom), width=WIDTH, height=HEIGHT)


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12))
