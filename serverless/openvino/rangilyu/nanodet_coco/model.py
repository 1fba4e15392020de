"""NanoDet as a detector of COCO's 80 classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import rectangle
from common.coco import COCO_80
from common.networks.nanodet import NanoDet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BATCH = 8


class CocoDetector:
    """Finds things of 80 classes on a picture."""

    def __init__(self, network: NanoDet) -> None:
        self._network = network

    @classmethod
    def load(cls) -> CocoDetector:
        """Load the weights of this worker."""
        return cls(NanoDet.load())

    @property
    def device(self) -> str:
        """Return what runs it, for the log."""
        return self._network.device

    def items(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a rectangle for each thing with a score of at least ``threshold``, best first."""
        found = self._network.detect(image, threshold)
        return [
            rectangle(COCO_80[number], box, score)
            for box, score, number in zip(found.boxes, found.scores, found.classes, strict=True)
        ]
