"""Load models and processors from a local folder, and run them on images."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import transformers
from PIL import Image as PillowImage

from common.torch_runtime import describe, half_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    Image = NDArray[np.uint8]

NOTHING_TO_NAME = "N/A"  # the name of the unused class numbers of COCO

# Tokenizers are used by one thread at a time: a call sets the padding and the truncation of the
# tokenizer itself, and fails while another thread uses it.
one_at_a_time = threading.Lock()


class Pretrained:
    """A model with its processor on a device. Threads may call it at the same time."""

    auto_class: ClassVar[Any]  # of the model
    processor_class: ClassVar[Any] = transformers.AutoImageProcessor

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self._model = model
        self._processor = processor
        self._device = device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Load the model of a folder."""
        return cls(*cls.read(folder, device), device)

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> tuple[Any, Any]:
        """Return the model and the processor of a folder."""
        model = read_model(cls.auto_class, folder, device)
        return model, read_processor(cls.processor_class, folder)

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return describe(self._device)


def read_model(auto_class: Any, folder: Path, device: torch.device) -> Any:
    """Return a model for inference. No file is fetched, and none runs code of its own."""
    model = auto_class.from_pretrained(str(folder), local_files_only=True, dtype=torch.float32)
    return model.eval().to(device)


def read_processor(auto_class: Any, folder: Path) -> Any:
    """Return a model's image processor, or its processor of images and texts."""
    return auto_class.from_pretrained(str(folder), local_files_only=True, backend="pil")


def pillow_images(images: Sequence[Image]) -> list[PillowImage.Image]:
    """Return images in the form whose axes no processor can confuse."""
    return [PillowImage.fromarray(image) for image in images]


def sizes(images: Sequence[Image]) -> list[tuple[int, int]]:
    """Return (height, width) of each image."""
    return [(image.shape[0], image.shape[1]) for image in images]


@torch.inference_mode()
def run(model: Any, inputs: Any, **more: Any) -> Any:
    """Run a model on a processor's output in the device's precision; return float32 outputs."""
    device = next(model.parameters()).device
    with half_precision(device):
        return in_float32(model(**inputs.to(device), **more))


def in_float32(outputs: Any) -> Any:
    """Return a model's outputs with tensors of half precision made float32.

    The processors' decoding then needs no other precision.
    """
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            outputs[name] = value.float()
    return outputs
