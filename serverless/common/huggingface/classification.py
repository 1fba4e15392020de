"""Image classifiers: tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers

from common.detection import answer_images_together
from common.huggingface.detection import MAX_BATCH, default_threshold
from common.huggingface.pretrained import Pretrained, pillow_images, run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]

DEFAULT_THRESHOLD = 0.5


class Classifier(Pretrained):
    """Tags of the classes whose probability reaches the threshold, most probable first."""

    auto_class = transformers.AutoModelForImageClassification

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the tags of ``image`` or of each of ``images``."""
        threshold = default_threshold(DEFAULT_THRESHOLD)
        return answer_images_together(
            body, self.classify, default_threshold=threshold, max_batch=MAX_BATCH
        )

    def classify(self, images: Sequence[Image], threshold: float) -> list[Items]:
        """Return the tags of each image."""
        inputs = self._processor(images=pillow_images(images), return_tensors="pt")
        logits = run(self._model, inputs).logits
        config = self._model.config
        if config.problem_type == "multi_label_classification":
            probabilities = logits.sigmoid()
        else:
            probabilities = logits.softmax(-1)
        return [_tags(each.cpu().numpy(), config.id2label, threshold) for each in probabilities]


def _tags(probabilities: NDArray[np.floating], names: dict[int, str], threshold: float) -> Items:
    order = np.argsort(-probabilities, kind="stable")
    return [
        {
            "label": names[int(number)],
            "type": "tag",
            "confidence": round(float(probabilities[number]), 4),
        }
        for number in order
        if probabilities[number] >= threshold
    ]
