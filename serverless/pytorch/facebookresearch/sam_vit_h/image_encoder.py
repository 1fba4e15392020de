"""Segment Anything's image encoder: a vision transformer with windows and relative positions.

Written from the papers (Kirillov et al. 2023, arXiv:2304.02643; Li et al. 2022, arXiv:2203.16527),
under the parameter names of the official checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 16  # pixels
MLP_RATIO = 4
EPS = 1e-6


@dataclass(frozen=True)
class EncoderShape:
    """What differs between the variants."""

    width: int  # of a token
    depth: int  # blocks
    heads: int
    global_blocks: tuple[int, ...]  # the others attend within windows
    side: int = 1024  # of the input, pixels
    window: int = 14  # tokens
    outputs: int = 256  # channels of the embedding


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of N x C x H x W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        normed = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + EPS)
        return self.weight[:, None, None] * normed + self.bias[:, None, None]


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.lin2(self.act(self.lin1(x)))
        return answer


class Attention(nn.Module):
    """Self-attention on a square of tokens, with learned offsets for row and column distances."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, width * 3)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, _ = x.shape
        split = self.qkv(x).reshape(n, height * width, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each n, heads, tokens, length
        bias = self._position_bias(query, height, width)
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        y = y.transpose(1, 2).reshape(n, height, width, -1)
        answer: Tensor = self.proj(y)
        return answer

    def _position_bias(self, query: Tensor, height: int, width: int) -> Tensor:
        """Return the offsets of all pairs of tokens, n x heads x tokens x tokens."""
        n, heads, tokens, length = query.shape
        placed = query.reshape(n, heads, height, width, length)
        rows = torch.einsum("nahwc,hkc->nahwk", placed, _by_distance(self.rel_pos_h, height))
        columns = torch.einsum("nahwc,wkc->nahwk", placed, _by_distance(self.rel_pos_w, width))
        pairs = rows[..., :, None] + columns[..., None, :]
        return pairs.reshape(n, heads, tokens, tokens)


def _by_distance(table: Tensor, side: int) -> Tensor:
    """Look up the vector of each pair of positions, side x side x length."""
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None, :] + side - 1]


def to_windows(x: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut N x H x W x C into windows, padded with zeros; return them and the padded size."""
    n, height, width, channels = x.shape
    x = functional.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    cut = x.view(n, rows, side, columns, side, channels).transpose(2, 3)
    return cut.reshape(-1, side, side, channels), (rows * side, columns * side)


def from_windows(windows: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Undo `to_windows`, without the padding."""
    side, channels = windows.shape[1], windows.shape[3]
    rows, columns = padded[0] // side, padded[1] // side
    joined = windows.view(-1, rows, columns, side, side, channels).transpose(2, 3)
    return joined.reshape(-1, *padded, channels)[:, : size[0], : size[1]]


class Block(nn.Module):
    """Attention (in windows, or over all tokens when `window` is 0) and an MLP, both residual."""

    def __init__(self, shape: EncoderShape, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(shape.width, eps=EPS)
        self.attn = Attention(shape.width, shape.heads, window or shape.side // PATCH)
        self.norm2 = nn.LayerNorm(shape.width, eps=EPS)
        self.mlp = Mlp(shape.width, shape.width * MLP_RATIO, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.window:
            windows, padded = to_windows(y, self.window)
            y = from_windows(self.attn(windows), padded, (x.shape[1], x.shape[2]))
        else:
            y = self.attn(y)
        x = x + y
        answer: Tensor = x + self.mlp(self.norm2(x))
        return answer


class PatchEmbed(nn.Module):
    """Patches of 16 x 16 pixels to tokens, N x H x W x C."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x).permute(0, 2, 3, 1)
        return tokens


class ImageEncoder(nn.Module):
    """Images N x 3 x side x side (normalised) to embeddings N x 256 x side/16 x side/16."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        tokens = shape.side // PATCH
        self.patch_embed = PatchEmbed(shape.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, tokens, shape.width))
        self.blocks = nn.ModuleList(
            Block(shape, 0 if index in shape.global_blocks else shape.window)
            for index in range(shape.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(shape.width, shape.outputs, 1, bias=False),
            LayerNorm2d(shape.outputs),
            nn.Conv2d(shape.outputs, shape.outputs, 3, padding=1, bias=False),
            LayerNorm2d(shape.outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        answer: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return answer
