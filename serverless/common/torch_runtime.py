"""On what a PyTorch network runs: the device by availability, threads, half precision, pictures to
tensors.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import torch

from common.devices import threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def torch_device() -> torch.device:
    """Return the device to use: the first CUDA one, else the CPU (environment: TORCH_DEVICE).

    On the CPU the number of threads is set as well.
    """
    chosen = os.environ.get("TORCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(chosen)
    if device.type == "cpu":
        torch.set_num_threads(threads())
    return device


def half_precision(device: torch.device) -> torch.autocast:
    """Return the context in which a network runs in float16 on CUDA, and in float32 elsewhere."""
    return torch.autocast("cuda", dtype=torch.float16, enabled=device.type == "cuda")


def to_tensor(image: NDArray[np.uint8], *, bgr: bool = False) -> Tensor:
    """Return an RGB image of shape (h, w, 3) as a float tensor of shape (3, h, w), 0 to 255."""
    ordered = image[..., ::-1] if bgr else image
    return torch.from_numpy(np.ascontiguousarray(ordered.transpose(2, 0, 1))).float()
