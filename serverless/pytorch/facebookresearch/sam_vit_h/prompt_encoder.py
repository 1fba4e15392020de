"""Segment Anything's prompt encoder: points and boxes to tokens (arXiv:2304.02643, appendix A)."""

from __future__ import annotations

import math

import torch
from image_encoder import LayerNorm2d
from torch import Tensor, nn

# Kinds of a prompt's points, as in the official ONNX interface.
PADDING, NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
MASK_CHANNELS = 16


class RandomPositions(nn.Module):
    """Positions in 0..1 to sines and cosines of random frequencies, kept in the checkpoint."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, length))

    def forward(self, places: Tensor) -> Tensor:
        """Encode positions ... x 2 (x, y) as ... x 2*length."""
        waves = 2 * math.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([waves.sin(), waves.cos()], dim=-1)

    def grid(self, side: int) -> Tensor:
        """Encode the centres of a square of side x side cells, 1 x 2*length x side x side."""
        steps = (
            torch.arange(side, device=self.positional_encoding_gaussian_matrix.device) + 0.5
        ) / side
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        encoded: Tensor = self(torch.stack([x, y], dim=-1))
        return encoded.permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Points of a prompt to tokens; the layers for masks as prompts are loaded, but not used."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side  # of the image as the image encoder sees it, pixels
        self.pe_layer = RandomPositions(width // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.no_mask_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, 2, 2),
            LayerNorm2d(MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, 2, 2),
            LayerNorm2d(MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, width, 1),
        )

    def forward(self, points: Tensor, kinds: Tensor) -> Tensor:
        """Return tokens n x points x width of points n x points x 2 in the encoder's pixels."""
        # The pixel's centre, not its corner.
        tokens: Tensor = self.pe_layer((points + 0.5) / self.side)
        tokens = torch.where((kinds == PADDING)[..., None], torch.zeros_like(tokens), tokens)
        tokens = tokens + (kinds == PADDING)[..., None] * self.not_a_point_embed.weight
        for kind, embedding in enumerate(self.point_embeddings):
            weight: Tensor = embedding.get_parameter("weight")
            tokens = tokens + (kinds == kind)[..., None] * weight
        return tokens

    def without_mask(self) -> Tensor:
        """Return what is added to every cell when no mask is sent, 1 x width x 1 x 1."""
        return self.no_mask_embed.weight[..., None, None]
