"""Device, threads and precision of PyTorch networks, and images as tensors."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
import torch

from common.devices import threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

SAMPLED = 1009  # every 1009th number of a parameter goes into the fingerprint
_PRECISIONS = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16")}


def torch_device() -> torch.device:
    """Return the device to use: the first CUDA one, else the CPU (environment: TORCH_DEVICE).

    On the CPU the number of threads is set as well. On CUDA, TF32 is switched off: by default
    PyTorch's float32 convolutions use it, and it has the 10 mantissa bits of float16.
    """
    chosen = os.environ.get("TORCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(chosen)
    if device.type == "cpu":
        torch.set_num_threads(threads())
    else:
        torch.backends.cudnn.allow_tf32 = False
    return device


def precision(device: torch.device) -> torch.dtype:
    """Return the precision of a network's layers: float16 on CUDA, else float32 (environment:
    TORCH_PRECISION, one of float32, float16 and bfloat16).
    """
    chosen = os.environ.get("TORCH_PRECISION") or (
        "float16" if device.type == "cuda" else "float32"
    )
    if chosen not in _PRECISIONS:
        raise ValueError(f"TORCH_PRECISION is {chosen!r}; use one of {', '.join(_PRECISIONS)}")
    return _PRECISIONS[chosen]


def half_precision(device: torch.device) -> torch.autocast:
    """Return the context in which a network runs in the device's `precision`."""
    wanted = precision(device)
    if wanted == torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=wanted)


def describe(device: torch.device) -> str:
    """Return device and precision for the log, such as ``cuda (NVIDIA T4) in float16``."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return f"{device}{name} in {str(precision(device)).removeprefix('torch.')}"


def to_tensor(image: NDArray[np.uint8], *, bgr: bool = False) -> Tensor:
    """Return an RGB image of shape (h, w, 3) as a float tensor of shape (3, h, w), 0 to 255."""
    ordered = image[..., ::-1] if bgr else image
    return torch.from_numpy(np.ascontiguousarray(ordered.transpose(2, 0, 1))).float()


def fingerprint(encoder: nn.Module) -> str:
    """Return a short hash of an encoder's weights, which identifies its embeddings.

    It covers every 1009th number of each parameter: training changes all of them.
    """
    digest = hashlib.sha256()
    for _, values in sorted(encoder.state_dict().items()):
        some = values.detach().flatten()[::SAMPLED].to("cpu", torch.float32)
        digest.update(some.numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:12]
