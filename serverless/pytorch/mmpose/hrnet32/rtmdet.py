"""RTMDet-nano for people, under MMDetection's parameter names.

Written from the paper (Lyu et al. 2022, arXiv:2212.07784): a CSPNeXt backbone, a pyramid that goes
down and up again, and a head whose levels share nothing, all with depthwise convolutions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)  # pixels a cell, level by level
#: inputs, outputs, blocks, whether blocks have a shortcut, whether pooling comes first
STAGES = (
    (16, 32, 1, True, False),
    (32, 64, 2, True, False),
    (64, 128, 2, True, False),
    (128, 256, 1, False, True),
)
LEVELS = (64, 128, 256)  # channels that enter the pyramid
HEAD = 64  # channels that leave it
TOWER = 2  # convolutions before a prediction
POOLS = (5, 9, 13)


class ConvNorm(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.bn(self.conv(x)))


class Separable(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(inputs, inputs, kernel, stride, groups=inputs)
        self.pointwise_conv = ConvNorm(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return answer


class Block(nn.Module):
    """A 3x3 and a 5x5 separable convolution, with or without a shortcut."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = Separable(channels, channels, 3)
        self.conv2 = Separable(channels, channels, 5)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class ChannelAttention(nn.Module):
    """Each channel weighed by what all channels are on average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class CspLayer(nn.Module):
    """Half of the channels go through blocks, half go past them."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, *, shortcut: bool, attention: bool
    ) -> None:
        super().__init__()
        middle = outputs // 2
        self.main_conv = ConvNorm(inputs, middle)
        self.short_conv = ConvNorm(inputs, middle)
        self.final_conv = ConvNorm(2 * middle, outputs)
        self.blocks = nn.Sequential(*(Block(middle, shortcut=shortcut) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * middle) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        answer: Tensor = self.final_conv(self.attention(joined))
        return answer


class PyramidPooling(nn.Module):
    """The largest values around each cell, at three sizes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels // 2)
        self.conv2 = ConvNorm(channels // 2 * (len(POOLS) + 1), channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [functional.max_pool2d(x, side, 1, side // 2) for side in POOLS]
        answer: Tensor = self.conv2(torch.cat([x, *pooled], dim=1))
        return answer


class CspNext(nn.Module):
    """Images to features of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        first = STAGES[0][0]
        self.stem = nn.Sequential(
            ConvNorm(3, first // 2, 3, 2),
            ConvNorm(first // 2, first // 2, 3),
            ConvNorm(first // 2, first, 3),
        )
        for index, (inputs, outputs, blocks, shortcut, pooling) in enumerate(STAGES):
            layers: list[nn.Module] = [Separable(inputs, outputs, 3, 2)]
            if pooling:
                layers.append(PyramidPooling(outputs))
            layers.append(CspLayer(outputs, outputs, blocks, shortcut=shortcut, attention=True))
            self.add_module(f"stage{index + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for index in range(len(STAGES)):
            x = self.get_submodule(f"stage{index + 1}")(x)
            features.append(x)
        return features[1:]


class Pyramid(nn.Module):
    """Features of three levels joined from the coarsest down, then from the finest up."""

    def __init__(self) -> None:
        super().__init__()
        coarse_first = list(zip(LEVELS[:0:-1], LEVELS[-2::-1], strict=True))
        self.reduce_layers = nn.ModuleList(ConvNorm(coarse, fine) for coarse, fine in coarse_first)
        self.top_down_blocks = nn.ModuleList(
            CspLayer(2 * fine, fine, 1, shortcut=False, attention=False) for _, fine in coarse_first
        )
        fine_first = list(itertools.pairwise(LEVELS))
        self.downsamples = nn.ModuleList(Separable(fine, fine, 3, 2) for fine, _ in fine_first)
        self.bottom_up_blocks = nn.ModuleList(
            CspLayer(2 * fine, coarse, 1, shortcut=False, attention=False)
            for fine, coarse in fine_first
        )
        self.out_convs = nn.ModuleList(Separable(channels, HEAD) for channels in LEVELS)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        *finer, x = features
        reduced: list[Tensor] = []
        for index, fine in enumerate(reversed(finer)):
            x = self.reduce_layers[index](x)
            reduced.insert(0, x)
            above = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.top_down_blocks[index](torch.cat([above, fine], dim=1))
        levels = [x]
        for index, coarse in enumerate(reduced):
            below = self.downsamples[index](levels[-1])
            levels.append(self.bottom_up_blocks[index](torch.cat([below, coarse], dim=1)))
        return [conv(level) for conv, level in zip(self.out_convs, levels, strict=True)]


class Head(nn.Module):
    """A person's logit and the distances to the box's sides, for every cell of every level."""

    def __init__(self) -> None:
        super().__init__()
        levels = range(len(STRIDES))
        self.cls_convs = nn.ModuleList(_tower() for _ in levels)
        self.reg_convs = nn.ModuleList(_tower() for _ in levels)
        self.rtm_cls = nn.ModuleList(nn.Conv2d(HEAD, 1, 1) for _ in levels)
        self.rtm_reg = nn.ModuleList(nn.Conv2d(HEAD, 4, 1) for _ in levels)

    def forward(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        answers = []
        for index, x in enumerate(levels):
            logits = self.rtm_cls[index](self.cls_convs[index](x))
            distances = self.rtm_reg[index](self.reg_convs[index](x)) * STRIDES[index]
            answers.append((logits, distances))
        return answers


def _tower() -> nn.Sequential:
    return nn.Sequential(*(Separable(HEAD, HEAD) for _ in range(TOWER)))


class RtmDet(nn.Module):
    """Images N x 3 x H x W (BGR, normalised, sides multiples of 32) to each level's answer.

    Level by level: logits N x 1 x h x w and distances to the left, top, right and bottom sides,
    N x 4 x h x w in pixels from the cell's corner.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = CspNext()
        self.neck = Pyramid()
        self.bbox_head = Head()

    def forward(self, pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
        answers: list[tuple[Tensor, Tensor]] = self.bbox_head(self.neck(self.backbone(pictures)))
        return answers
