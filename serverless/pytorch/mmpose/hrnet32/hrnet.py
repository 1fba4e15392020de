"""HRNet-W32 with a heat-map head, under MMPose's parameter names.

Written from the paper (Sun et al. 2019, arXiv:1902.09212): branches of four resolutions run side
by side and exchange what they know after every few blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 32  # channels of the finest branch; each coarser one has twice as many
KEYPOINTS = 133
STEM = 64
BLOCKS = 4  # of a branch of one module
MODULES = (1, 4, 3)  # of the stages with 2, 3 and 4 branches


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def _channels(branch: int) -> int:
    return WIDTH << branch


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and an identical shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(x + self.bn2(self.conv2(y)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, and a projected or identical shortcut."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = _conv3(middle, middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        if inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.downsample(x) + self.bn3(self.conv3(y)))


def _finer(source: int, target: int) -> nn.Sequential:
    """Bring a coarser branch to a finer one's channels and size."""
    return nn.Sequential(
        nn.Conv2d(_channels(source), _channels(target), 1, bias=False),
        nn.BatchNorm2d(_channels(target)),
        nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
    )


def _coarser(source: int, target: int) -> nn.Sequential:
    """Bring a finer branch to a coarser one's size by strided convolutions."""
    steps: list[nn.Module] = []
    for step in range(target - source):
        last = step == target - source - 1
        outputs = _channels(target if last else source)
        layers = [_conv3(_channels(source), outputs, 2), nn.BatchNorm2d(outputs)]
        steps.append(nn.Sequential(*layers, *([] if last else [nn.ReLU()])))
    return nn.Sequential(*steps)


def _exchange(source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    return _finer(source, target) if source > target else _coarser(source, target)


class ExchangeModule(nn.Module):
    """Blocks in every branch, then each branch takes the sum of all, brought to its size."""

    def __init__(self, branches: int, *, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(_channels(branch)) for _ in range(BLOCKS)))
            for branch in range(branches)
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(source, target) for source in range(branches))
            for target in range(outputs)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        own = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        sums = []
        for row in self.fuse_layers:
            assert isinstance(row, nn.ModuleList)
            brought = [bring(x) for bring, x in zip(row, own, strict=True)]
            sums.append(functional.relu(torch.stack(brought).sum(0)))
        return sums


class Stage(nn.Sequential):
    """Modules one after another; the last of the network answers the finest branch only."""

    def __init__(self, modules: int, branches: int, *, final: bool) -> None:
        last = 1 if final else branches
        super().__init__(
            *(
                ExchangeModule(branches, outputs=last if index == modules - 1 else branches)
                for index in range(modules)
            )
        )


def _transition(inputs: Sequence[int], branches: int) -> nn.ModuleList:
    """Make the branches of a stage of those before: adapt channels, add one coarser branch."""
    layers: list[nn.Module] = []
    for branch in range(branches):
        outputs = _channels(branch)
        if branch < len(inputs):
            same = inputs[branch] == outputs
            adapted = [_conv3(inputs[branch], outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers.append(nn.Identity() if same else nn.Sequential(*adapted))
        else:
            coarser = [_conv3(inputs[-1], outputs, 2), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers.append(nn.Sequential(nn.Sequential(*coarser)))
    return nn.ModuleList(layers)


class HRNet(nn.Module):
    """Images N x 3 x H x W to the finest branch's features, N x 32 x H/4 x W/4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv3(3, STEM, 2)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = _conv3(STEM, STEM, 2)
        self.bn2 = nn.BatchNorm2d(STEM)
        outputs = 4 * STEM
        self.layer1 = nn.Sequential(
            *(Bottleneck(STEM if i == 0 else outputs, STEM, outputs) for i in range(BLOCKS))
        )
        inputs = [outputs]
        for index, modules in enumerate(MODULES):
            branches = index + 2
            self.add_module(f"transition{index + 1}", _transition(inputs, branches))
            stage = Stage(modules, branches, final=index == len(MODULES) - 1)
            self.add_module(f"stage{index + 2}", stage)
            inputs = [_channels(branch) for branch in range(branches)]

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        features = [self.layer1(x)]
        for index in range(len(MODULES)):
            transition = self.get_submodule(f"transition{index + 1}")
            assert isinstance(transition, nn.ModuleList)
            # A new branch starts from the coarsest one there was.
            sources = [*features, features[-1]] if index else [features[0], features[0]]
            adapted = [bring(y) for bring, y in zip(transition, sources, strict=True)]
            features = self.get_submodule(f"stage{index + 2}")(adapted)
        finest: Tensor = features[0]
        return finest


class HeatMapHead(nn.Module):
    """One heat map a key point."""

    def __init__(self) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(WIDTH, KEYPOINTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.final_layer(x)
        return maps


class PoseNetwork(nn.Module):
    """Crops N x 3 x 256 x 192 (RGB, normalised) to heat maps N x 133 x 64 x 48."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = HRNet()
        self.head = HeatMapHead()

    def forward(self, crops: Tensor) -> Tensor:
        maps: Tensor = self.head(self.backbone(crops))
        return maps
