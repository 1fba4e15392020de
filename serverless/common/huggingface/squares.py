"""Images as the square input of the Segment Anything models.

transformers prepares these images with torchvision only. This module does the same with PyTorch:
`tests/functions/new_models/test_squares.py` compares both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Image = NDArray[np.uint8]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CONFIGURATIONS = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)


@dataclass(frozen=True)
class SquareInput:
    """How a model's input is made of an image: stretched to a square, and normalised."""

    side: int  # pixels
    mean: tuple[float, ...]  # of red, green and blue, 0 to 1
    deviation: tuple[float, ...]

    @classmethod
    def read(
        cls,
        folder: Path,
        *,
        side: int,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        deviation: tuple[float, ...] = IMAGENET_DEVIATION,
    ) -> SquareInput:
        """Read the values of a published model. The arguments hold where it states none."""
        content = _configuration(folder)
        return cls(
            side=side,
            mean=tuple(content.get("image_mean") or mean),
            deviation=tuple(content.get("image_std") or deviation),
        )

    def prepare(self, image: Image, device: torch.device) -> Tensor:
        """Return 1 x 3 x side x side, bilinear with antialiasing on bytes, as torchvision does."""
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        stretched = functional.interpolate(
            pixels, (self.side, self.side), mode="bilinear", antialias=True
        ).to(device)
        mean, deviation = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (self.mean, self.deviation)
        )
        return (stretched.float() / 255 - mean) / deviation

    def scale(self, image_size: tuple[int, int]) -> tuple[float, float]:
        """Return the factors of x and y from pixels of the image to those of the input."""
        height, width = image_size
        return self.side / width, self.side / height


def _configuration(folder: Path) -> dict[str, Any]:
    for name in CONFIGURATIONS:
        if (folder / name).is_file():
            content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
            return content.get("image_processor", content)
    return {}
