"""Segment Anything's mask decoder: a two-way transformer between prompt tokens and image cells.

Written from the paper (arXiv:2304.02643, appendix A), under the official parameter names.
"""

from __future__ import annotations

import torch
from image_encoder import LayerNorm2d, Mlp
from torch import Tensor, nn
from torch.nn import functional

MASKS = 4  # one for clear prompts, three for ambiguous ones
LAYERS = 2
HEADS = 8
HIDDEN = 2048


class Attention(nn.Module):
    """Attention whose inner width is the outer one divided by `shrink`."""

    def __init__(self, width: int, shrink: int = 1) -> None:
        super().__init__()
        inner = width // shrink
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads = [
            projection(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for projection, x in (
                (self.q_proj, query),
                (self.k_proj, key),
                (self.v_proj, value),
            )
        ]
        joined = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        answer: Tensor = self.out_proj(joined)
        return answer


class TwoWayLayer(nn.Module):
    """Tokens look at themselves and at the image, then the image looks at the tokens."""

    def __init__(self, width: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, shrink=2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, HIDDEN, nn.ReLU())
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, shrink=2)

    def forward(
        self, tokens: Tensor, cells: Tensor, token_places: Tensor, cell_places: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # tokens are their own places here
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_places
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        keys = cells + cell_places
        seen = self.cross_attn_token_to_image(tokens + token_places, keys, cells)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        seen = self.cross_attn_image_to_token(keys, tokens + token_places, tokens)
        return tokens, self.norm4(cells + seen)


class TwoWayTransformer(nn.Module):
    """Two layers and a last look of the tokens at the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(width, first=i == 0) for i in range(LAYERS))
        self.final_attn_token_to_image = Attention(width, shrink=2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, places: Tensor, cells: Tensor, cell_places: Tensor) -> tuple[Tensor, Tensor]:
        tokens = places
        for layer in self.layers:
            tokens, cells = layer(tokens, cells, places, cell_places)
        seen = self.final_attn_token_to_image(tokens + places, cells + cell_places, cells)
        return self.norm_final_attn(tokens + seen), cells


class Head(nn.Module):
    """Three linear layers with ReLU between."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, outputs)]
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        answer: Tensor = last(functional.relu(second(functional.relu(first(x)))))
        return answer


class MaskDecoder(nn.Module):
    """Image embedding and prompt tokens to four masks and the network's own guess of their IoU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(width)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Head(width, width // 8) for _ in range(MASKS)
        )
        self.iou_prediction_head = Head(width, MASKS)

    def forward(self, image: Tensor, places: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits 1 x 4 x 4H x 4W and guesses 1 x 4.

        `image` and `places` are 1 x width x H x W, `prompt` is 1 x tokens x width.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None]
        tokens, cells = self.transformer(
            torch.cat([own, prompt], dim=1),
            image.flatten(2).transpose(1, 2),
            places.flatten(2).transpose(1, 2),
        )
        features = self.output_upscaling(cells.transpose(1, 2).reshape(image.shape))
        filters = [
            head(tokens[:, 1 + index]) for index, head in enumerate(self.output_hypernetworks_mlps)
        ]
        logits = torch.einsum("nmc,nchw->nmhw", torch.stack(filters, dim=1), features)
        return logits, self.iou_prediction_head(tokens[:, 0])
