"""Segment Anything 3: masks of all objects that a text or examples on the image describe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from torch.nn import functional

from common.detection import answer_images
from common.errors import BadInput
from common.huggingface.detection import TEXT_THRESHOLD, default_threshold
from common.huggingface.pretrained import in_float32, one_at_a_time, read_model
from common.huggingface.roi_align import provide
from common.huggingface.segmentation import segment_item
from common.huggingface.squares import SquareInput
from common.huggingface.texts import read_texts
from common.inputs import read_box
from common.torch_runtime import describe, half_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]
    Floats = NDArray[np.float64]

MAX_BATCH = 4
TEXT_TOKENS = 32  # the text encoder's length
EXAMPLES_TEXT = "visual"  # the model's text for examples alone
MASK_THRESHOLD = 0.5
HALF = (0.5, 0.5, 0.5)  # mean and deviation of the input


class ConceptDetector:
    """Masks of the texts of a call, or of what looks like the examples of a call."""

    def __init__(
        self, model: Any, tokenizer: Any, square: SquareInput, device: torch.device
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._square = square
        self._device = device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> ConceptDetector:
        """Load the model of a folder."""
        model = read_model(transformers.Sam3Model, folder, device)
        provide(sys.modules[type(model).__module__])
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        side = model.config.vision_config.backbone_config.image_size
        return cls(
            model, tokenizer, SquareInput.read(folder, side=side, mean=HALF, deviation=HALF), device
        )

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the masks on ``image`` or on each of ``images``.

        ``exemplars`` are ``{"box": [x0, y0, x1, y1], "label": name}`` on the same image; one with
        ``"negative": true`` shows what is not meant. All examples of one label are one concept.
        """
        concepts = _read_concepts(body)
        return answer_images(
            body,
            lambda image, threshold: self.detect(image, concepts, threshold),
            default_threshold=default_threshold(TEXT_THRESHOLD),
            max_batch=MAX_BATCH,
        )

    @torch.inference_mode()
    def detect(
        self,
        image: Image,
        concepts: Sequence[tuple[str, str, Sequence[tuple[Floats, bool]]]],
        threshold: float,
    ) -> Items:
        """Return the masks of each concept (label, text, examples), best first.

        The image is encoded once for all concepts.
        """
        with half_precision(self._device):
            vision = self._model.get_vision_features(self._square.prepare(image, self._device))
        answer: Items = []
        for label, text, examples in concepts:
            inputs = {**self._tokens(text), **self._boxes(examples, image)}
            with half_precision(self._device):
                outputs = in_float32(self._model(vision_embeds=vision, **inputs))
            answer += _items(label, outputs, threshold, image)
        return sorted(answer, key=lambda item: -item["confidence"])

    def _tokens(self, text: str) -> dict[str, Any]:
        with one_at_a_time:
            tokens = self._tokenizer(
                text,
                return_tensors="pt",
                padding="max_length",
                max_length=TEXT_TOKENS,
                truncation=True,
            )
        return {name: tokens[name].to(self._device) for name in ("input_ids", "attention_mask")}

    def _boxes(
        self, examples: Sequence[tuple[Floats, bool]], image: Image
    ) -> dict[str, torch.Tensor]:
        """Return boxes as centre and size, in parts of the image, and which of them are meant."""
        if not examples:
            return {}
        height, width = image.shape[:2]
        corners = np.array([box for box, _ in examples]) / [width, height, width, height]
        boxes = np.concatenate(
            [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
        )
        meant = [int(not negative) for _, negative in examples]
        return {
            "input_boxes": torch.tensor(boxes[None], device=self._device, dtype=torch.float32),
            "input_boxes_labels": torch.tensor([meant], device=self._device),
        }


def _read_concepts(body: dict[str, Any]) -> list[tuple[str, str, list[tuple[Floats, bool]]]]:
    sent = body.get("exemplars") or []
    if not isinstance(sent, list) or not all(isinstance(each, dict) for each in sent):
        raise BadInput("'exemplars' is not a list of objects with 'box' and 'label'")
    examples: dict[str, list[tuple[Floats, bool]]] = {}
    for number, each in enumerate(sent):
        name = f"exemplars[{number}]"
        box = read_box({f"{name}.box": each.get("box")}, f"{name}.box")
        if box is None:
            raise BadInput(f"'{name}.box' is missing; send [x0, y0, x1, y1]")
        label = each.get("label") or EXAMPLES_TEXT
        if not isinstance(label, str):
            raise BadInput(f"'{name}.label' is not text")
        examples.setdefault(label, []).append((box, bool(each.get("negative"))))
    texts = read_texts(body) if body.get("text") is not None or not examples else []
    concepts = [(text, text, examples.pop(text, [])) for text in texts]
    return concepts + [(label, EXAMPLES_TEXT, boxes) for label, boxes in examples.items()]


def _items(label: str, outputs: Any, threshold: float, image: Image) -> Items:
    """Return the masks of one concept; the score includes whether the concept is on the image."""
    scores = outputs.pred_logits[0].sigmoid()
    if outputs.presence_logits is not None:
        scores = scores * outputs.presence_logits[0].sigmoid()
    answer = []
    for number in torch.nonzero(scores > threshold)[:, 0].tolist():
        mask = functional.interpolate(
            outputs.pred_masks[0, number].sigmoid()[None, None],
            image.shape[:2],
            mode="bilinear",
            align_corners=False,
        )[0, 0]
        bits = (mask > MASK_THRESHOLD).cpu().numpy()
        item = segment_item(label, np.ascontiguousarray(bits), float(scores[number]))
        if item is not None:
            answer.append(item)
    return answer
