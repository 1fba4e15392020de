"""Segment Anything of transformers, in its three sizes, with the names of official checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from torch import Tensor

#: variant -> members of the configuration of its image encoder
VARIANTS: dict[str, dict[str, Any]] = {
    "vit_h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": (7, 15, 23, 31),
    },
    "vit_l": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "global_attn_indexes": (5, 11, 17, 23),
    },
    "vit_b": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "global_attn_indexes": (2, 5, 8, 11),
    },
}
EPS = 1e-5  # of the decoder's layer norms in the official package; the library's default is 1e-6
POSITIONS = "positional_embedding"  # one parameter, which two modules of the library's model share

#: start of an official name, and of the library's name; the first that fits is used
NAMES = tuple(
    (re.compile(official), name)
    for official, name in (
        (r"image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
        (r"image_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_encoder.layers.\1.layer_norm\2."),
        (r"image_encoder\.blocks\.", "vision_encoder.layers."),
        (r"image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
        (r"image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
        (r"image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
        (r"image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
        (r"image_encoder\.", "vision_encoder."),
        (
            r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
            f"prompt_encoder.shared_embedding.{POSITIONS}",
        ),
        (r"prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
        (r"prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        (r"(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
        (r"(mask_decoder\.transformer)\.norm_final_attn\.", r"\1.layer_norm_final_attn."),
        (r"mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        (r"(mask_decoder\.(?:output_hyper|iou_pred)[a-z_.\d]+)\.layers\.0\.", r"\1.proj_in."),
        (r"(mask_decoder\.(?:output_hyper|iou_pred)[a-z_.\d]+)\.layers\.1\.", r"\1.layers.0."),
        (r"(mask_decoder\.(?:output_hyper|iou_pred)[a-z_.\d]+)\.layers\.2\.", r"\1.proj_out."),
    )
)


def renamed(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of an official checkpoint by the library's names."""
    found = {library_name(name): value for name, value in parameters.items()}
    shared = found.get(f"prompt_encoder.shared_embedding.{POSITIONS}")
    if shared is not None:
        found[f"shared_image_embedding.{POSITIONS}"] = shared
    return found


def library_name(official: str) -> str:
    """Return the library's name of a parameter of an official checkpoint."""
    for pattern, name in NAMES:
        if pattern.match(official):
            return pattern.sub(name, official, count=1)
    return official


def without_weights(variant: Mapping[str, Any]) -> Any:
    """Return the library's model of a variant. Its parameters have shapes and no memory."""
    vision = transformers.SamVisionConfig(**variant)
    config = transformers.SamConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": vision.image_size},
        mask_decoder_config={"layer_norm_eps": EPS},
    )
    with torch.device("meta"):
        return transformers.SamModel(config)
