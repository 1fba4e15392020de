"""RetinaNet with a ResNet-101 and a feature pyramid, under Detectron2's parameter names.

Written from the papers (He et al. 2016, arXiv:1512.03385; Lin et al. 2017, arXiv:1612.03144 and
arXiv:1708.02002). As in Detectron2's model the stride of a bottleneck sits in its first 1x1
convolution, batch norm is frozen, and the two coarsest pyramid levels come from the last backbone
feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 80
STRIDES = (8, 16, 32, 64, 128)  # pixels an anchor cell, level by level
ANCHOR_SIDES = (32, 64, 128, 256, 512)  # pixels
SCALES = tuple(2 ** (step / 3) for step in range(3))
RATIOS = (0.5, 1.0, 2.0)  # height over width
ANCHORS = len(SCALES) * len(RATIOS)
CHANNELS = 256
HEAD_DEPTH = 4
R101_BLOCKS = (3, 4, 23, 3)


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and scale are constants."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)


class ConvNorm(nn.Conv2d):
    """A convolution without bias that owns its frozen batch norm (`.norm`)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = FrozenBatchNorm(outputs)

    def forward(self, input: Tensor) -> Tensor:
        normed: Tensor = self.norm(super().forward(input))
        return normed


class Bottleneck(nn.Module):
    """1x1 (with the stride), 3x3, 1x1, and a projected or identical shortcut."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut = ConvNorm(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = ConvNorm(inputs, middle, 1, stride)
        self.conv2 = ConvNorm(middle, middle, 3)
        self.conv3 = ConvNorm(middle, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.conv1(x))
        y = functional.relu(self.conv2(y))
        residual = x if self.shortcut is None else self.shortcut(x)
        return functional.relu(self.conv3(y) + residual)


class Stem(nn.Module):
    """The 7x7 convolution and the pooling before the first stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, channels, 7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.conv1(x)), 3, 2, 1)


class ResNet(nn.Module):
    """A bottleneck ResNet that answers the features of its last three stages."""

    def __init__(self, blocks: Sequence[int] = R101_BLOCKS, width: int = 64) -> None:
        super().__init__()
        self.stem = Stem(width)
        inputs = width
        for index, count in enumerate(blocks):
            outputs = 4 * width * 2**index
            stride = 1 if index == 0 else 2
            stage = [
                Bottleneck(
                    inputs if i == 0 else outputs, outputs // 4, outputs, stride if i == 0 else 1
                )
                for i in range(count)
            ]
            self.add_module(f"res{index + 2}", nn.Sequential(*stage))
            inputs = outputs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.get_submodule("res2")(self.stem(x))
        c3: Tensor = self.get_submodule("res3")(x)
        c4: Tensor = self.get_submodule("res4")(c3)
        c5: Tensor = self.get_submodule("res5")(c4)
        return c3, c4, c5


class CoarseLevels(nn.Module):
    """The two pyramid levels made from the last backbone feature by strided convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(inputs, outputs, 3, 2, 1)
        self.p7 = nn.Conv2d(outputs, outputs, 3, 2, 1)

    def forward(self, c5: Tensor) -> tuple[Tensor, Tensor]:
        p6 = self.p6(c5)
        return p6, self.p7(functional.relu(p6))


class FeaturePyramid(nn.Module):
    """The top-down pyramid P3..P7 over a ResNet."""

    def __init__(self, blocks: Sequence[int] = R101_BLOCKS, width: int = 64) -> None:
        super().__init__()
        self.bottom_up = ResNet(blocks, width)
        for level, inputs in ((3, 8 * width), (4, 16 * width), (5, 32 * width)):
            self.add_module(f"fpn_lateral{level}", nn.Conv2d(inputs, CHANNELS, 1))
            self.add_module(f"fpn_output{level}", nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1))
        self.top_block = CoarseLevels(32 * width, CHANNELS)

    def forward(self, x: Tensor) -> list[Tensor]:
        c5: Tensor
        *finer, c5 = self.bottom_up(x)
        merged: Tensor = self.get_submodule("fpn_lateral5")(c5)
        levels = [self.get_submodule("fpn_output5")(merged)]
        for level, feature in ((4, finer[1]), (3, finer[0])):
            above = functional.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = self.get_submodule(f"fpn_lateral{level}")(feature) + above
            levels.insert(0, self.get_submodule(f"fpn_output{level}")(merged))
        return [*levels, *self.top_block(c5)]


def _tower() -> nn.Sequential:
    layers = [(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1), nn.ReLU()) for _ in range(HEAD_DEPTH)]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class Head(nn.Module):
    """Class logits and box deltas of every anchor, with the same weights on every level."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_subnet = _tower()
        self.bbox_subnet = _tower()
        self.cls_score = nn.Conv2d(CHANNELS, ANCHORS * CLASSES, 3, 1, 1)
        self.bbox_pred = nn.Conv2d(CHANNELS, ANCHORS * 4, 3, 1, 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.cls_score(self.cls_subnet(feature))
        deltas = self.bbox_pred(self.bbox_subnet(feature))
        return _by_anchor(logits, CLASSES), _by_anchor(deltas, 4)


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    """Turn N x (anchors*values) x H x W into N x (H*W*anchors) x values."""
    n, _, height, width = maps.shape
    return (
        maps.view(n, ANCHORS, values, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, values)
    )


class RetinaNet(nn.Module):
    """Images N x 3 x H x W (BGR, mean subtracted, sides multiples of 32) to logits and deltas a
    level.
    """

    def __init__(self, blocks: Sequence[int] = R101_BLOCKS, width: int = 64) -> None:
        super().__init__()
        self.backbone = FeaturePyramid(blocks, width)
        self.head = Head()

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return, level by level, logits N x A x 80, deltas N x A x 4 and anchors A x 4 (xyxy,
        pixels).
        """
        answers = []
        for level, feature in enumerate(self.backbone(images)):
            logits, deltas = self.head(feature)
            height, width = feature.shape[-2:]
            anchors = level_anchors(level, height, width, device=images.device)
            answers.append((logits.float(), deltas.float(), anchors))
        return answers


def level_anchors(level: int, height: int, width: int, *, device: torch.device) -> Tensor:
    """Make the anchors of one pyramid level, H*W*9 x 4, row by row."""
    cell = []
    for scale in SCALES:
        side = ANCHOR_SIDES[level] * scale
        for ratio in RATIOS:
            w = math.sqrt(side * side / ratio)
            h = ratio * w
            cell.append((-w / 2, -h / 2, w / 2, h / 2))
    rows = torch.arange(height, device=device) * STRIDES[level]
    columns = torch.arange(width, device=device) * STRIDES[level]
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4).float()
    return (centres + torch.tensor(cell, device=device)).reshape(-1, 4)
