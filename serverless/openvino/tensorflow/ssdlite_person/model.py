"""SSDLite-MobileNet person detector, converted from a frozen TensorFlow graph to OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import rectangle
from common.networks.ssdlite import SsdLite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABEL = "person"
MAX_BATCH = 8


class PersonDetector:
    """Finds persons on a picture."""

    def __init__(self, network: SsdLite) -> None:
        self._network = network

    @classmethod
    def load(cls) -> PersonDetector:
        """Load the weights of this worker."""
        return cls(SsdLite.load())

    @property
    def device(self) -> str:
        """Return what runs it, for the log."""
        return self._network.device

    def items(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a rectangle for each person with a score of at least ``threshold``, best first."""
        boxes, scores = self._network.persons(image, threshold)
        return [rectangle(LABEL, box, score) for box, score in zip(boxes, scores, strict=True)]
