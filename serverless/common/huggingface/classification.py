"""Image classifiers: tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from common.detection import answer_images_together
from common.huggingface.detection import MAX_BATCH, default_threshold
from common.huggingface.pretrained import pillow_images, read_model, read_processor, run
from common.torch_runtime import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]

DEFAULT_THRESHOLD = 0.5


class Classifier:
    """Tags of the classes whose probability reaches the threshold, most probable first."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self._model = model
        self._processor = processor
        self._device = device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Classifier:
        """Load the model of a folder."""
        model = read_model(transformers.AutoModelForImageClassification, folder, device)
        return cls(model, read_processor(transformers.AutoImageProcessor, folder), device)

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return describe(self._device)

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
