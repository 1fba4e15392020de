"""Load models and processors from a local folder, and run them on images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as PillowImage

from common.torch_runtime import half_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

NOTHING_TO_NAME = "N/A"  # the name of the unused class numbers of COCO


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
