"""RoIAlign (arXiv:1703.06870) in PyTorch, for Segment Anything 3 without torchvision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


def provide(module: Any) -> None:
    """Give a module of transformers this `roi_align` where it found no torchvision."""
    if not hasattr(module, "torchvision"):
        module.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))


def roi_align(maps: Tensor, boxes: Sequence[Tensor], side: int) -> Tensor:
    """Return side x side means of each box (x0, y0, x1, y1 in cells of the map), bilinear.

    ``boxes`` has the boxes of each map. A cell of the answer is the mean of as many samples as it
    covers cells of the map, as with torchvision's defaults.
    """
    pooled = [
        _pool(one, box.tolist(), side)
        for one, of_map in zip(maps, boxes, strict=True)
        for box in of_map
    ]
    if not pooled:
        return maps.new_zeros((0, maps.shape[1], side, side))
    return torch.stack(pooled)


def _pool(one: Tensor, box: Sequence[float], side: int) -> Tensor:
    left, top, right, bottom = box
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    across, down = math.ceil(width / side), math.ceil(height / side)
    x = left + (torch.arange(side * across, device=one.device) + 0.5) * (width / side / across)
    y = top + (torch.arange(side * down, device=one.device) + 0.5) * (height / side / down)
    samples = _bilinear(one.float(), y, x)
    means = samples.reshape(-1, side, down, side, across).mean(dim=(2, 4))
    return means.to(one.dtype)


def _bilinear(one: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return channels x rows x columns of values at fractional places; 0 beyond the map."""
    rows, columns = one.shape[1:]
    inside = ((y >= -1) & (y <= rows))[:, None] & ((x >= -1) & (x <= columns))[None, :]
    y, x = y.clamp(0, rows - 1), x.clamp(0, columns - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=rows - 1), (left + 1).clamp(max=columns - 1)
    down, across = (y - top)[:, None], (x - left)[None, :]
    lines = one[:, top] * (1 - down) + one[:, bottom] * down
    return (lines[:, :, left] * (1 - across) + lines[:, :, right] * across) * inside
