"""TransT: a template and a search patch, their features fused by attention, a score and a box a
cell.

Written from the paper (Chen et al. 2021, arXiv:2103.15436), under the parameter names of the
official checkpoint. The backbone is a ResNet-50 whose third stage keeps its resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 256  # of a token
HEADS = 8
HIDDEN = 2048
LAYERS = 4  # of fusion
BLOCKS = (3, 4, 6)
STRIDE = 8  # pixels a cell
TEMPERATURE = 10000.0
EPS = 1e-6


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride or the dilation), 1x1, and a shortcut."""

    def __init__(
        self, inputs: int, middle: int, *, stride: int = 1, dilation: int = 1, project: bool
    ) -> None:
        super().__init__()
        outputs = 4 * middle
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


def _stage(inputs: int, middle: int, blocks: int, *, stride: int, dilation: int) -> nn.Sequential:
    """Make a stage; only its first block has the stride and the dilation."""
    first = Bottleneck(inputs, middle, stride=stride, dilation=dilation, project=True)
    others = [Bottleneck(4 * middle, middle, project=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)


class Body(nn.Module):
    """ResNet-50 up to its third stage: N x 3 x H x W to N x 1024 x H/8 x W/8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, BLOCKS[0], stride=1, dilation=1)
        self.layer2 = _stage(256, 128, BLOCKS[1], stride=2, dilation=1)
        self.layer3 = _stage(512, 256, BLOCKS[2], stride=1, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, 2, 1)
        answer: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return answer


class Backbone(nn.Module):
    """The holder that gives the body's parameters their official names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.body(x)
        return answer


def place_encoding(height: int, width: int, *, device: torch.device) -> Tensor:
    """Return sines and cosines of the cells' places, H*W x WIDTH (rows first, then columns)."""
    half = WIDTH // 2
    exponents = 2 * torch.div(torch.arange(half, device=device), 2, rounding_mode="floor") / half
    wave_lengths = TEMPERATURE**exponents
    parts = []
    for axis, size in ((0, height), (1, width)):
        steps = torch.arange(1, size + 1, device=device, dtype=torch.float32)
        angles = steps / (size + EPS) * 2 * math.pi
        waves = angles[:, None] / wave_lengths
        joined = torch.stack([waves[:, 0::2].sin(), waves[:, 1::2].cos()], dim=2).flatten(1)
        grid = joined[:, None] if axis == 0 else joined[None]
        parts.append(grid.expand(height, width, half))
    return torch.cat(parts, dim=2).flatten(0, 1)


class Attention(nn.MultiheadAttention):
    """Attention whose queries and keys know their places, on N x cells x WIDTH."""

    def __init__(self) -> None:
        super().__init__(WIDTH, HEADS, batch_first=True)

    def look(self, x: Tensor, places: Tensor, other: Tensor, other_places: Tensor) -> Tensor:
        """Return what the cells of `x` see in `other`."""
        answer: Tensor
        answer, _ = self(x + places, other + other_places, other, need_weights=False)
        return answer


class FusionLayer(nn.Module):
    """Template (1) and search (2) each look at themselves, then at each other."""

    def __init__(self) -> None:
        super().__init__()
        for side in (1, 2):
            self.add_module(f"self_attn{side}", Attention())
            self.add_module(f"multihead_attn{side}", Attention())
            self.add_module(f"linear{side}1", nn.Linear(WIDTH, HIDDEN))
            self.add_module(f"linear{side}2", nn.Linear(HIDDEN, WIDTH))
            for place in (1, 2, 3):
                self.add_module(f"norm{side}{place}", nn.LayerNorm(WIDTH))

    def forward(self, cells: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        calm = [
            self._norm(side, 1, x + self._attention(f"self_attn{side}").look(x, place, x, place))
            for side, x, place in zip((1, 2), cells, places, strict=True)
        ]
        answers = []
        for side, own, other in ((1, 0, 1), (2, 1, 0)):
            attention = self._attention(f"multihead_attn{side}")
            seen = attention.look(calm[own], places[own], calm[other], places[other])
            x = self._norm(side, 2, calm[own] + seen)
            hidden = functional.relu(self.get_submodule(f"linear{side}1")(x))
            x = x + self.get_submodule(f"linear{side}2")(hidden)
            answers.append(self._norm(side, 3, x))
        return answers

    def _attention(self, name: str) -> Attention:
        attention = self.get_submodule(name)
        assert isinstance(attention, Attention)
        return attention

    def _norm(self, side: int, place: int, x: Tensor) -> Tensor:
        normed: Tensor = self.get_submodule(f"norm{side}{place}")(x)
        return normed


class LastLayer(nn.Module):
    """The search looks at the template once more."""

    def __init__(self) -> None:
        super().__init__()
        self.multihead_attn = Attention()
        self.linear1 = nn.Linear(WIDTH, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)

    def forward(self, cells: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
        template, search = cells
        seen = self.multihead_attn.look(search, places[1], template, places[0])
        x = self.norm1(search + seen)
        answer: Tensor = self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
        return answer


class Encoder(nn.Module):
    """The fusion layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer() for _ in range(LAYERS))

    def forward(self, cells: Sequence[Tensor], places: Sequence[Tensor]) -> Sequence[Tensor]:
        for layer in self.layers:
            cells = layer(cells, places)
        return cells


class Decoder(nn.Module):
    """The last layer and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([LastLayer()])
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, cells: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
        answer: Tensor = self.norm(self.layers[0](cells, places))
        return answer


class Fusion(nn.Module):
    """Template and search cells to the search's fused cells."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, cells: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
        answer: Tensor = self.decoder(self.encoder(cells, places), places)
        return answer


class Head(nn.Module):
    """Three linear layers with ReLU between."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, outputs)]
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        answer: Tensor = last(functional.relu(second(functional.relu(first(x)))))
        return answer


class TransT(nn.Module):
    """Templates N x 3 x 128 x 128 and search patches N x 3 x 256 x 256 to scores and boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.featurefusion_network = Fusion()
        self.class_embed = Head(2)
        self.bbox_embed = Head(4)
        self.input_proj = nn.Conv2d(1024, WIDTH, 1)
        self.backbone = nn.Sequential(Backbone())

    def forward(self, templates: Tensor, searches: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores N x cells (0 to 1) and boxes N x cells x 4 (centre x, y, width, height).

        Cells go row by row; boxes are in 0..1 of the search patch.
        """
        cells, places = [], []
        for patches in (templates, searches):
            features = self.input_proj(self.backbone(patches))
            cells.append(features.flatten(2).transpose(1, 2))
            height, width = features.shape[-2:]
            places.append(place_encoding(height, width, device=patches.device))
        fused = self.featurefusion_network(cells, places)
        scores = self.class_embed(fused).softmax(dim=2)[..., 0]
        return scores, self.bbox_embed(fused).sigmoid()
