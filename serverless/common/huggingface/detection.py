"""Object detectors: of a fixed list of classes, or of texts that a call carries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from common.answers import rectangle
from common.boxes import class_nms, clip
from common.detection import answer_images_together
from common.errors import BadInput
from common.huggingface.pretrained import (
    NOTHING_TO_NAME,
    Pretrained,
    one_at_a_time,
    pillow_images,
    run,
    sizes,
)
from common.huggingface.texts import read_texts
from common.inputs import read_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]
    Found = dict[str, Tensor]  # boxes, scores and labels of one image

MAX_BATCH = 8
DEFAULT_THRESHOLD = 0.5  # of the classes' detectors
TEXT_THRESHOLD = 0.3  # of text detectors, whose scores are lower
MAX_IOU = 0.5  # of two boxes of one text, for models without a suppression of their own
_WITH_SPANS = ("grounding-dino", "mm-grounding-dino")  # score tokens, not texts


class ObjectDetector(Pretrained):
    """Rectangles of the classes of the model's configuration."""

    auto_class = transformers.AutoModelForObjectDetection

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``image`` or of each of ``images``."""
        threshold = default_threshold(DEFAULT_THRESHOLD)
        return answer_images_together(
            body, self.detect, default_threshold=threshold, max_batch=MAX_BATCH
        )

    def detect(self, images: Sequence[Image], threshold: float) -> list[Items]:
        """Return the rectangles of each image, best first."""
        names = self._model.config.id2label
        return [
            items(found, names, image)
            for found, image in zip(self.find(images, threshold), images, strict=True)
        ]

    def find(self, images: Sequence[Image], threshold: float) -> list[Found]:
        """Return boxes, scores and class numbers of each image."""
        inputs = self._processor(images=pillow_images(images), return_tensors="pt")
        found: list[Found] = self._processor.post_process_object_detection(
            run(self._model, inputs), threshold=threshold, target_sizes=sizes(images)
        )
        return found


class TextDetector(Pretrained):
    """Rectangles of the texts of a call. The label of an item is the text as it was sent."""

    auto_class = transformers.AutoModelForZeroShotObjectDetection
    processor_class = transformers.AutoProcessor

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        super().__init__(model, processor, device)
        self._has_spans = model.config.model_type in _WITH_SPANS

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``text`` on ``image`` or on each of ``images``."""
        texts = read_texts(body)
        read_threshold(body, 0.0)  # before the images are decoded
        return answer_images_together(
            body,
            lambda images, threshold: self.detect(images, texts, threshold),
            default_threshold=default_threshold(TEXT_THRESHOLD),
            max_batch=MAX_BATCH,
        )

    def detect(
        self, images: Sequence[Image], texts: Sequence[str], threshold: float
    ) -> list[Items]:
        """Return the rectangles of each image, best first."""
        names = dict(enumerate(texts))
        find = self._find_by_spans if self._has_spans else self._find_by_texts
        return [
            items(found, names, image)
            for found, image in zip(find(images, texts, threshold), images, strict=True)
        ]

    def _find_by_texts(
        self, images: Sequence[Image], texts: Sequence[str], threshold: float
    ) -> list[Found]:
        """Run a model that scores each text (OWL-ViT, OWLv2); suppress repeated boxes."""
        with one_at_a_time:
            inputs = self._processor(
                images=pillow_images(images),
                text=[list(texts)] * len(images),
                return_tensors="pt",
                truncation=True,
            )
        found: list[Found] = self._processor.post_process_grounded_object_detection(
            run(self._model, inputs), threshold=threshold, target_sizes=sizes(images)
        )
        return [_suppressed(each) for each in found]

    def _find_by_spans(
        self, images: Sequence[Image], texts: Sequence[str], threshold: float
    ) -> list[Found]:
        """Run a model that scores the tokens of one sentence (Grounding DINO).

        The score of a text is the highest one of its tokens.
        """
        sentence = ". ".join(text.lower() for text in texts) + "."
        with one_at_a_time:
            inputs = self._processor(
                images=pillow_images(images), text=[sentence] * len(images), return_tensors="pt"
            )
        tokens = inputs["input_ids"][0].tolist()
        limit = self._model.config.max_text_len
        if len(tokens) > limit:
            raise BadInput(f"'text' has {len(tokens)} tokens; send texts of at most {limit}")
        outputs = run(self._model, inputs)
        scores = outputs.logits.sigmoid()
        scores = torch.stack(
            [scores[..., first:last].amax(-1) for first, last in self._spans(tokens, len(texts))],
            dim=-1,
        )
        boxes = self._processor.image_processor.post_process_object_detection(
            outputs, threshold=-1.0, target_sizes=sizes(images)
        )
        found = []
        for each, (best, numbers) in zip(boxes, (one.max(-1) for one in scores), strict=True):
            kept = best > threshold
            found.append(
                {"boxes": each["boxes"][kept], "scores": best[kept], "labels": numbers[kept]}
            )
        return found

    def _spans(self, tokens: Sequence[int], count: int) -> list[tuple[int, int]]:
        """Return the first token of each text and the one behind its last: a full stop."""
        stop = self._processor.tokenizer.convert_tokens_to_ids(".")
        ends = [place for place, token in enumerate(tokens) if token == stop]
        if len(ends) != count:
            raise BadInput("'text' has a text with a full stop inside; send texts without one")
        starts = [1, *(end + 1 for end in ends[:-1])]  # a special token comes first
        return list(zip(starts, ends, strict=True))


def default_threshold(built_in: float) -> float:
    """Return the threshold of calls without one (environment: DETECTOR_THRESHOLD)."""
    return float(os.environ.get("DETECTOR_THRESHOLD") or built_in)


def items(found: Found, names: dict[int, str], image: Image) -> Items:
    """Return the rectangles of an image as items, best first, cut at the image's borders."""
    height, width = image.shape[:2]
    boxes = clip(found["boxes"].double().cpu().numpy(), width=width, height=height)
    scores, labels = found["scores"].cpu().numpy(), found["labels"].cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    return [
        rectangle(names[int(labels[each])], boxes[each], scores[each])
        for each in order
        if names[int(labels[each])] != NOTHING_TO_NAME
    ]


def _suppressed(found: Found) -> Found:
    boxes, scores, labels = (found[name].cpu().numpy() for name in ("boxes", "scores", "labels"))
    kept = class_nms(boxes, scores, labels, max_iou=MAX_IOU)
    return {name: found[name][kept.tolist()] for name in ("boxes", "scores", "labels")}
