"""Instance masks of COCO's 80 classes: NanoDet finds boxes, MobileSAM makes a mask of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from common.coco import COCO_80
from common.detection import answer_image
from common.devices import once_each
from common.masks import mask_item
from common.networks.mobile_sam import MobileSam
from common.networks.nanodet import NanoDet
from common.networks.prompts import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_THRESHOLD = 0.4  # that of the NanoDet detector
# Each mask costs a run of the decoder. The limit bounds the time when the threshold is 0.
MAX_MASKS = 40
NO_POINTS = np.zeros((0, 2))


def load() -> InstanceSegmenter:
    """Load the weights of this worker."""
    return InstanceSegmenter(NanoDet.load(), MobileSam.load())


class InstanceSegmenter:
    """Finds objects on an image and makes a mask of each."""

    def __init__(self, detector: NanoDet, segmenter: MobileSam) -> None:
        self._detector = detector
        self._segmenter = segmenter

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return once_each(self._detector.device, self._segmenter.device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the masks of ``image``."""
        return answer_image(body, self.detect, default_threshold=DEFAULT_THRESHOLD)

    def detect(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a mask for each object with a score of at least ``threshold``, best first.

        The confidence is the detector's. A box whose mask is empty gives no item.
        """
        found = self._detector.detect(image, threshold)
        if not len(found.boxes):
            return []  # without the cost of an embedding
        embedding = self._segmenter.embed(image)
        size = (image.shape[0], image.shape[1])
        items = []
        for box, score, number in list(zip(found.boxes, found.scores, found.classes, strict=True))[
            :MAX_MASKS
        ]:
            prompt = Prompt(positive=NO_POINTS, negative=NO_POINTS, box=np.asarray(box))
            mask, place = self._segmenter.mask(embedding, size, prompt)
            items.append(mask_item(COCO_80[number], mask, score, at=place))
        return [item for item in items if item is not None]
