"""Instance, panoptic and semantic segmentation: masks with polygons."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import transformers

from common.detection import answer_images_together
from common.huggingface.detection import DEFAULT_THRESHOLD, default_threshold
from common.huggingface.pretrained import (
    NOTHING_TO_NAME,
    Pretrained,
    pillow_images,
    read_model,
    read_processor,
    run,
    sizes,
)
from common.masks import mask_members, polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Mask = NDArray[np.bool_]
    Items = list[dict[str, Any]]
    Segment = tuple[Mask, int, float | None]  # mask, class, score
    Decode = Callable[[Any, Any, float, list[tuple[int, int]]], Iterator[list[Segment]]]

MAX_BATCH = 4
MAX_SIDE = 1024  # pixels of a mask before it is enlarged: bounds memory, a mask for each query
_AUTO_CLASSES = (
    transformers.AutoModelForUniversalSegmentation,
    transformers.AutoModelForInstanceSegmentation,
    transformers.AutoModelForSemanticSegmentation,
    transformers.AutoModelForImageSegmentation,
)


class Segmenter(Pretrained):
    """Masks of the classes of the model's configuration."""

    def __init__(self, model: Any, processor: Any, device: torch.device, decode: Decode) -> None:
        super().__init__(model, processor, device)
        self._decode = decode

    @classmethod
    def load_instances(cls, folder: Path, device: torch.device) -> Segmenter:
        """Load a model that answers one mask for each object."""
        return cls(*_read(folder, device), device, _instances)

    @classmethod
    def load_panoptic(cls, folder: Path, device: torch.device) -> Segmenter:
        """Load a model that answers one mask for each object and for each kind of background."""
        return cls(*_read(folder, device), device, _panoptic)

    @classmethod
    def load_semantic(cls, folder: Path, device: torch.device) -> Segmenter:
        """Load a model that answers one mask for each class."""
        return cls(*_read(folder, device), device, _semantic)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the masks of ``image`` or of each of ``images``."""
        threshold = default_threshold(DEFAULT_THRESHOLD)
        return answer_images_together(
            body, self.segment, default_threshold=threshold, max_batch=MAX_BATCH
        )

    def segment(self, images: Sequence[Image], threshold: float) -> list[Items]:
        """Return the masks of each image. Semantic masks have no confidence."""
        inputs = self._processor(images=pillow_images(images), return_tensors="pt")
        outputs = run(self._model, inputs)
        working = [_working_size(*size) for size in sizes(images)]
        names = self._model.config.id2label
        segments = self._decode(self._processor, outputs, threshold, working)
        return [_items(found, names, image) for found, image in zip(segments, images, strict=True)]


def _read(folder: Path, device: torch.device) -> tuple[Any, Any]:
    config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
    for auto_class in _AUTO_CLASSES:
        if type(config) in auto_class._model_mapping:
            processor = read_processor(transformers.AutoImageProcessor, folder)
            return read_model(auto_class, folder, device), processor
    raise ValueError(f"transformers has no segmentation model of type {config.model_type!r}")


def _instances(
    processor: Any, outputs: Any, threshold: float, working: list[tuple[int, int]]
) -> Iterator[list[Segment]]:
    decode = processor.post_process_instance_segmentation
    # With binary maps the masks of two objects may overlap; some models have none.
    has_maps = "return_binary_maps" in inspect.signature(decode).parameters
    options = {"return_binary_maps": True} if has_maps else {}
    for found in decode(outputs, threshold=threshold, target_sizes=working, **options):
        maps = found["segmentation"].cpu().numpy()
        yield [
            (
                maps[place] > 0 if has_maps else maps == segment["id"],
                segment["label_id"],
                segment["score"],
            )
            for place, segment in enumerate(found["segments_info"])
        ]


def _panoptic(
    processor: Any, outputs: Any, threshold: float, working: list[tuple[int, int]]
) -> Iterator[list[Segment]]:
    for found in processor.post_process_panoptic_segmentation(
        outputs, threshold=threshold, target_sizes=working, label_ids_to_fuse=set()
    ):
        numbers = found["segmentation"].cpu().numpy()
        yield [
            (numbers == segment["id"], segment["label_id"], segment["score"])
            for segment in found["segments_info"]
        ]


def _semantic(
    processor: Any, outputs: Any, threshold: float, working: list[tuple[int, int]]
) -> Iterator[list[Segment]]:
    for found in processor.post_process_semantic_segmentation(outputs, target_sizes=working):
        classes = found.cpu().numpy()
        yield [(classes == number, int(number), None) for number in np.unique(classes)]


def _items(found: list[Segment], names: dict[int, str], image: Image) -> Items:
    height, width = image.shape[:2]
    answer = []
    for mask, number, score in sorted(found, key=lambda each: -(each[2] or 0.0)):
        name = names.get(number, NOTHING_TO_NAME)
        if name == NOTHING_TO_NAME:
            continue
        item = segment_item(name, enlarged(mask, width=width, height=height), score)
        if item is not None:
            answer.append(item)
    return answer


def segment_item(label: str, mask: Mask, score: float | None) -> dict[str, Any] | None:
    """Return an item of type mask with its polygon, or None for an empty mask."""
    pixels = mask_members(mask)
    if pixels is None:
        return None
    points = [coordinate for point in polygon(mask) for coordinate in point]
    item = {"label": label, "type": "mask", **pixels, "points": points}
    return item if score is None else {**item, "confidence": round(float(score), 4)}


def enlarged(mask: Mask, *, width: int, height: int) -> Mask:
    """Return a mask in the image's size: each pixel takes the value of the nearest one."""
    if mask.shape == (height, width):
        return np.ascontiguousarray(mask)
    bits = np.ascontiguousarray(mask).view(np.uint8)
    return cv2.resize(bits, (width, height), interpolation=cv2.INTER_NEAREST).view(np.bool_)


def _working_size(height: int, width: int) -> tuple[int, int]:
    ratio = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(height * ratio)), max(1, round(width * ratio))
