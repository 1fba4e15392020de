"""Detection transformers in ONNX files: DETR, RT-DETR, D-FINE, DEIM, RF-DETR.

A folder that ``new onnx-detr`` wrote has a ``model.json`` with the settings of its network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.answers import rectangle
from common.boxes import clip
from common.detection import answer_images_together
from common.images import resize
from common.onnx_network import OnnxNetwork
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Floats = NDArray[np.floating]
    Items = list[dict[str, Any]]

MAX_BATCH = 8
MAX_OBJECTS = 300  # on one image
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True)
class Settings:
    """The content of ``model.json``."""

    weights: str  # name of the file
    labels: tuple[str, ...]  # by the number of the class
    size: tuple[int, int]  # height, width of the input in pixels, where the network takes any
    scores: str  # "sigmoid", or "softmax" with a last class "nothing"
    normalise: bool  # subtract ImageNet's mean
    threshold: float  # where a call has none, in [0, 1]


def load(folder: Path) -> Detr:
    """Load the network of a function folder."""
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    settings = Settings(
        weights=content["weights"],
        labels=tuple(content["labels"]),
        size=tuple(content["size"]),
        scores=content["scores"],
        normalise=content["normalise"],
        threshold=content["threshold"],
    )
    return Detr(OnnxNetwork(weights_file(settings.weights)), settings)


class Detr:
    """A network, and the conversion of its outputs into rectangles."""

    def __init__(self, network: OnnxNetwork, settings: Settings) -> None:
        self._network = network
        self._settings = settings
        images = [name for name, shape in network.inputs.items() if len(shape) == 4]
        if len(images) != 1:
            raise ValueError(f"the network has {len(images)} inputs for images, not 1")
        [self._image] = images
        # RT-DETR's own export takes the images' sizes and answers in their pixels.
        sizes = [name for name, shape in network.inputs.items() if len(shape) == 2]
        self._sizes = sizes[0] if sizes else None
        shape = network.inputs[self._image]
        self._height, self._width = (
            side or wanted for side, wanted in zip(shape[2:4], settings.size, strict=True)
        )
        # A run tells at the start whether the outputs can be read.
        self.detect([np.full((self._height, self._width, 3), 114, np.uint8)], 1.0)

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``image``, or of each of ``images``."""
        return answer_images_together(
            body, self.detect, default_threshold=self._settings.threshold, max_batch=MAX_BATCH
        )

    def detect(self, images: Sequence[Image], threshold: float) -> list[Items]:
        """Return each image's rectangles, best first."""
        return [self._one(image, threshold) for image in images]

    def _one(self, image: Image, threshold: float) -> Items:
        height, width = image.shape[:2]
        inputs: dict[str, NDArray[Any]] = {self._image: self._pixels(image)[None]}
        if self._sizes is not None:
            inputs[self._sizes] = np.array([[width, height]])
        outputs = self._network(**inputs)
        named = dict(zip(self._network.outputs, outputs, strict=True))
        if {"labels", "boxes", "scores"} <= named.keys():
            boxes, scores = named["boxes"][0], named["scores"][0]
            classes = named["labels"][0].astype(np.intp)
            if self._sizes is None:
                boxes = boxes * np.array([width, height, width, height])
        else:
            boxes, each = self._queries(outputs)
            classes = each.argmax(axis=1)
            scores = each[np.arange(len(each)), classes]
            boxes = boxes * np.array([width, height, width, height])
        known = (classes >= 0) & (classes < len(self._settings.labels))
        kept = np.flatnonzero((scores >= threshold) & known)
        kept = kept[np.argsort(-scores[kept], kind="stable")][:MAX_OBJECTS]
        boxes = clip(boxes[kept].astype(np.float64), width=width, height=height)
        return [
            rectangle(self._settings.labels[kind], box, score)
            for kind, box, score in zip(classes[kept], boxes, scores[kept], strict=True)
            if box[2] > box[0] and box[3] > box[1]
        ]

    def _queries(self, outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Return corners in parts of the image and a score a class, for each query."""
        count = len(self._settings.labels)
        tables = [output[0].astype(np.float32) for output in outputs if output.ndim == 3]
        whole = [table for table in tables if table.shape[1] == 4 + count]
        if len(tables) == 1 and whole:  # Ultralytics' RT-DETR: boxes, then finished scores
            return _corners(whole[0][:, :4]), whole[0][:, 4:]
        boxes = [table for table in tables if table.shape[1] == 4]
        logits = [table for table in tables if table.shape[1] in (count, count + 1)]
        logits = [table for table in logits if table is not (boxes[0] if boxes else None)]
        if not boxes or not logits:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(
                f"the network's outputs have the shapes {shapes}; with {count} labels they must be "
                f"[n, q, 4] and [n, q, {count}] or [n, q, {count + 1}], or named labels, boxes and "
                "scores. Is the number of labels right?"
            )
        return _corners(boxes[0]), self._probabilities(logits[0])[:, :count]

    def _probabilities(self, logits: Floats) -> Floats:
        if self._settings.scores == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logits)))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _pixels(self, image: Image) -> Floats:
        """Return an RGB image as the network takes it: stretched to its size, values 0 to 1."""
        scaled = resize(image, width=self._width, height=self._height).astype(np.float32) / 255
        if self._settings.normalise:
            scaled = (scaled - _MEAN) / _DEVIATION
        return scaled.transpose(2, 0, 1)


def _corners(boxes: Floats) -> Floats:
    """Turn centre and size into the corners x0, y0, x1, y1."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
