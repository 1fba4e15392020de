"""Segment Anything as a whole, in its three sizes."""

from __future__ import annotations

import torch
from image_encoder import PATCH, EncoderShape, ImageEncoder
from mask_decoder import MaskDecoder
from prompt_encoder import PromptEncoder
from torch import Tensor, nn

VARIANTS = {
    "vit_h": EncoderShape(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31)),
    "vit_l": EncoderShape(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
    "vit_b": EncoderShape(width=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11)),
}


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.side = shape.side  # of an image as the encoder takes it, pixels
        cells = shape.side // PATCH
        self.embedding_shape = (1, shape.outputs, cells, cells)
        self.image_encoder = ImageEncoder(shape)
        self.prompt_encoder = PromptEncoder(shape.outputs, shape.side)
        self.mask_decoder = MaskDecoder(shape.outputs)

    def decode(self, embedding: Tensor, points: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of four masks, 1 x 4 x side/4 x side/4, and guesses of their IoU, 1 x 4.

        `points` are n x 2 in the encoder's pixels, `kinds` are n of prompt_encoder's kinds.
        """
        prompt = self.prompt_encoder(points[None], kinds[None])
        places = self.prompt_encoder.pe_layer.grid(embedding.shape[-1])
        image = embedding + self.prompt_encoder.without_mask()
        logits, guesses = self.mask_decoder(image, places, prompt)
        return logits, guesses


def choose(logits: Tensor, guesses: Tensor, *, ambiguous: bool) -> Tensor:
    """Return the logits of one mask: the likeliest of three for a lone point, else the first."""
    place = 1 + int(torch.argmax(guesses[0, 1:])) if ambiguous else 0
    return logits[0, place]
