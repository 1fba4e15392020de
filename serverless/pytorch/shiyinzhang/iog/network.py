"""Inside-Outside Guidance: image and clicks to a mask, coarse to fine.

Written from the paper (Zhang et al. 2020, CVPR, "Interactive object segmentation with
inside-outside guidance"), under the parameter names of the authors' checkpoint: a dilated
ResNet-101 that takes five channels, a pyramid pooling of its last stage, a coarse network that
goes from the last stage to the first, and a fine network that joins all of its levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 512  # pixels of the network's square input
INPUTS = 5  # red, green, blue, inside, outside
BLOCKS = (3, 4, 23)  # of the first three stages
DILATIONS = (2, 4, 8)  # of the last stage's blocks
STAGE_CHANNELS = (512, 1024, 512, 256)  # that enter the coarse network, last stage first
POOLS = (1, 2, 3, 6)
WIDTH = 256
SMALL_SIDE = 128  # cells of every prediction before the last enlargement


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride or the dilation), 1x1, and a shortcut."""

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        project: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        projection = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.downsample = nn.Sequential(*(projection if project else []))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.downsample(x) + self.bn3(self.conv3(y)))


def _stage(inputs: int, middle: int, stride: int, dilations: Sequence[int]) -> nn.Sequential:
    outputs = 4 * middle
    blocks = [Bottleneck(inputs, middle, outputs, stride=stride, dilation=dilations[0])]
    for dilation in dilations[1:]:
        blocks.append(Bottleneck(outputs, middle, outputs, dilation=dilation, project=False))
    return nn.Sequential(*blocks)


class Backbone(nn.Module):
    """ResNet-101 whose last stage keeps its resolution, to the features of its four stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(INPUTS, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 1, (1,) * BLOCKS[0])
        self.layer2 = _stage(256, 128, 2, (1,) * BLOCKS[1])
        self.layer3 = _stage(512, 256, 2, (1,) * BLOCKS[2])
        self.layer4 = _stage(1024, 512, 1, DILATIONS)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, 2, 1)
        features: list[Tensor] = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.insert(0, x)
        return features


class PyramidPooling(nn.Module):
    """What the whole image looks like, at four sizes, joined to every cell."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        part = inputs // len(POOLS)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(side),
                nn.Conv2d(inputs, part, 1, bias=False),
                nn.BatchNorm2d(part),
                nn.ReLU(),
            )
            for side in POOLS
        )
        self.bottleneck = nn.Sequential(
            nn.Conv2d(2 * inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = [_enlarge(stage(x), x.shape[-1]) for stage in self.stages]
        answer: Tensor = self.bottleneck(torch.cat([*parts, x], dim=1))
        return answer


def _enlarge(x: Tensor, side: int) -> Tensor:
    return functional.interpolate(x, (side, side), mode="bilinear", align_corners=True)


def _lateral(inputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, WIDTH, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(WIDTH), nn.ReLU())


def _enlarged() -> nn.Sequential:
    conv = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
    twice = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return nn.Sequential(twice, conv, nn.BatchNorm2d(WIDTH))


def _prediction() -> nn.Sequential:
    """Make the layers of a coarse mask: trained with the others, not asked here."""
    return nn.Sequential(
        nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.Conv2d(WIDTH, 1, 3, padding=1, bias=False),
        nn.Upsample(size=(SMALL_SIDE, SMALL_SIDE), mode="bilinear", align_corners=True),
        nn.BatchNorm2d(1),
    )


class CoarseNetwork(nn.Module):
    """From the last stage to the first, each level adds what it knows."""

    def __init__(self) -> None:
        super().__init__()
        levels = len(STAGE_CHANNELS)
        self.laterals = nn.ModuleList(_lateral(channels) for channels in STAGE_CHANNELS)
        # The first is in the checkpoint, but the last two stages have one size.
        self.upsamples = nn.ModuleList(_enlarged() for _ in range(levels - 1))
        self.predict = nn.ModuleList(_prediction() for _ in range(levels))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = [self.laterals[0](features[0])]
        above = levels[0]
        for index in range(1, len(features)):
            levels.append(self.laterals[index](features[index]) + above)
            if index < len(self.upsamples):
                above = self.upsamples[index](levels[-1])
        return levels


class FineNetwork(nn.Module):
    """All levels through blocks (the coarser the more), brought to one size and joined."""

    def __init__(self) -> None:
        super().__init__()
        levels = len(STAGE_CHANNELS)
        size = (SMALL_SIDE, SMALL_SIDE)
        self.cascade = nn.ModuleList(
            nn.Sequential(
                *(Bottleneck(WIDTH, WIDTH // 2, WIDTH) for _ in range(levels - 1 - level)),
                nn.Upsample(size=size, mode="bilinear", align_corners=True),
            )
            for level in range(levels)
        )
        self.final_predict = nn.Sequential(
            Bottleneck(levels * WIDTH, WIDTH // 2, WIDTH),
            nn.Conv2d(WIDTH, 1, 3, padding=1, bias=False),
            nn.BatchNorm2d(1),
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        joined = [blocks(level) for blocks, level in zip(self.cascade, levels, strict=True)]
        answer: Tensor = self.final_predict(torch.cat(joined, dim=1))
        return answer


class Iog(nn.Module):
    """Inputs N x 5 x 512 x 512 (0 to 255) to logits N x 1 x 512 x 512."""

    def __init__(self) -> None:
        super().__init__()
        self.Coarse_net = CoarseNetwork()
        self.Fine_net = FineNetwork()
        self.backbone = Backbone()
        self.psp4 = PyramidPooling(2048, STAGE_CHANNELS[0])

    def forward(self, inputs: Tensor) -> Tensor:
        last, *earlier = self.backbone(inputs)
        levels = self.Coarse_net([self.psp4(last), *earlier])
        return _enlarge(self.Fine_net(levels), SIDE)
