"""Make torchvision importable with a PyTorch for the CPU, whose wheel lacks its operators.

Import this module before torchvision. Only the operators `nms` and `roi_align` are used. This
module implements them in plain PyTorch.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

_SCHEMA = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def nms(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    """Return the indices of the boxes (n x 4, xyxy) that no better box suppresses, best first."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = scores.argsort(descending=True)
    kept: list[int] = []
    while order.numel():
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        first = torch.maximum(boxes[best, :2], boxes[rest, :2])
        last = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (last - first).clamp(min=0).prod(dim=1)
        order = rest[shared / (area[best] + area[rest] - shared) <= max_iou]
    return torch.tensor(kept, dtype=torch.long)


def roi_align(
    images: Tensor, rois: Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool
) -> Tensor:
    """Return the features in boxes (k x 5: number of the image, xyxy) by torchvision's own rule."""
    module = importlib.import_module("torchvision.ops.roi_align")
    features: Tensor = module._roi_align(images, rois, scale, height, width, ratio, aligned)
    return features


LIBRARY = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    LIBRARY.define(_SCHEMA.format(_name))
LIBRARY.define(
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, "
    "int pooled_width, int sampling_ratio, bool aligned) -> Tensor"
)
LIBRARY.impl("nms", nms, "CPU")
LIBRARY.impl("roi_align", roi_align, "CPU")
# Otherwise torchvision refuses to call any operator.
importlib.import_module("torchvision.extension")._has_ops = lambda: True
