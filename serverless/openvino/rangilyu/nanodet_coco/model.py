"""NanoDet as a detector of COCO's 80 classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import rectangle
from common.coco import COCO_80
from common.detection import answer_images
from common.networks.nanodet import NanoDet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.4  # chosen from the curve in docs/functions.md
MAX_BATCH = 8


def load() -> CocoDetector:
    """Load the weights of this worker."""
    return CocoDetector(NanoDet.load())


class CocoDetector:
    """Finds objects of 80 classes on an image."""

    def __init__(self, network: NanoDet) -> None:
        self._network = network

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``image``, or of each of ``images``."""
        return answer_images(
            body, self.detect, default_threshold=DEFAULT_THRESHOLD, max_batch=MAX_BATCH
        )

    def detect(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a rectangle for each object with a score of at least ``threshold``, best first."""
        found = self._network.detect(image, threshold)
        return [
            rectangle(COCO_80[number], box, score)
            for box, score, number in zip(found.boxes, found.scores, found.classes, strict=True)
        ]
