"""SSDLite-MobileNet person detector, converted from a frozen TensorFlow graph to OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import rectangle
from common.detection import answer_images
from common.networks.ssdlite import SsdLite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABEL = "person"
DEFAULT_THRESHOLD = 0.4  # chosen from the curve in docs/functions.md
MAX_BATCH = 8


def load() -> PersonDetector:
    """Load the weights of this worker."""
    return PersonDetector(SsdLite.load())


class PersonDetector:
    """Finds persons on an image."""

    def __init__(self, network: SsdLite) -> None:
        self._network = network

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the persons of ``image``, or of each of ``images``, as rectangles."""
        return answer_images(
            body, self.detect, default_threshold=DEFAULT_THRESHOLD, max_batch=MAX_BATCH
        )

    def detect(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a rectangle for each person with a score of at least ``threshold``, best first."""
        found = self._network.persons(image, threshold)
        return [
            rectangle(LABEL, box, score)
            for box, score in zip(found.boxes, found.scores, strict=True)
        ]
