"""Tiny models of transformers with random weights, in the files of a published model.

Each maker writes the folder of one model and returns it. The random weights are seeded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

SIDE = 64  # of the square inputs, pixels
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "red", "car", "cat", "dog", "cup")
COCO_NAMES = {0: "N/A", 1: "car", 2: "cup", 3: "person"}  # the random weights prefer the last


def make_detector(folder: Path) -> Path:
    """Write an RT-DETR v2 of four classes."""
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
        out_indices=[2, 3, 4],
    )
    config = transformers.RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[8, 16, 16],
        feat_strides=[8, 16, 32],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=32,
        num_queries=12,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_n_points=2,
        num_denoising=0,
        id2label=COCO_NAMES,
        hidden_expansion=0.5,
    )
    processor = transformers.RTDetrImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return _write(folder, transformers.RTDetrV2ForObjectDetection, config, processor)


def make_d_fine(folder: Path) -> Path:
    """Write a D-FINE of four classes."""
    backbone = transformers.HGNetV2Config(
        embedding_size=8,
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        hidden_sizes=[16, 16, 16, 16],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
        out_indices=[2, 3, 4],
    )
    config = transformers.DFineConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 16, 16],
        feat_strides=[8, 16, 32],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=32,
        num_queries=12,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_n_points=[2, 2, 2],
        num_denoising=0,
        id2label=COCO_NAMES,
        hidden_expansion=0.5,
    )
    processor = transformers.RTDetrImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return _write(folder, transformers.DFineForObjectDetection, config, processor)


def make_grounding_dino(folder: Path) -> Path:
    """Write a Grounding DINO with a tokenizer of a few words."""
    backbone = transformers.SwinConfig(
        image_size=SIDE,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
        out_indices=[2, 3, 4],
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone,
        text_config=transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=10,
        num_feature_levels=4,
        encoder_n_points=2,
        decoder_n_points=2,
        max_text_len=24,
    )
    images = transformers.GroundingDinoImageProcessorPil(
        size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE}
    )
    processor = transformers.GroundingDinoProcessor(images, tokenizer_of_words(folder))
    return _write(folder, transformers.GroundingDinoForObjectDetection, config, processor)


def make_owl(folder: Path) -> Path:
    """Write an OWLv2 with a tokenizer of a few words."""
    config = transformers.Owlv2Config(
        text_config={
            "vocab_size": 64,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 16,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 16,
        },
        projection_dim=16,
    )
    images = transformers.Owlv2ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor = transformers.Owlv2Processor(images, tokenizer_of_letters(folder))
    return _write(folder, transformers.Owlv2ForObjectDetection, config, processor)


def make_panoptic(folder: Path) -> Path:
    """Write a Mask2Former with one query: random queries overlap, and panoptic masks do not."""
    return make_mask2former(folder, queries=1)


def make_mask2former(folder: Path, *, queries: int = 8) -> Path:
    """Write a Mask2Former of three classes."""
    backbone = transformers.SwinConfig(
        image_size=SIDE,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=queries,
        id2label={0: "person", 1: "car", 2: "cup"},
    )
    processor = transformers.Mask2FormerImageProcessorPil(size={"height": SIDE, "width": SIDE})
    model = transformers.Mask2FormerForUniversalSegmentation

    def prefer_objects(made: Any) -> None:
        made.class_predictor.bias[-1] -= 5  # of "no object"
        if queries == 1:  # certain of a class; its mask is nearly empty, its complement is not
            made.class_predictor.bias[1] += 5
            embedder = made.model.transformer_module.decoder.mask_predictor.mask_embedder
            for values in list(embedder.children())[-1].parameters():
                values.neg_()

    return _write(folder, model, config, processor, prefer_objects)


def make_pose(folder: Path) -> Path:
    """Write a ViTPose of three points, and a detector of persons."""
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=1,
        out_indices=[1],
        out_features=["stage1"],
    )
    config = transformers.VitPoseConfig(
        backbone_config=backbone,
        id2label={0: "Nose", 1: "L_Eye", 2: "R_Eye"},
        num_labels=3,
        use_simple_decoder=True,
    )
    processor = transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    make_detector(folder / "detector")
    return _write(folder, transformers.VitPoseForPoseEstimation, config, processor)


def make_classifier(folder: Path) -> Path:
    """Write a vision transformer of three classes."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIDE,
        patch_size=16,
        id2label={0: "day", 1: "night", 2: "dusk"},
    )
    processor = transformers.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return _write(folder, transformers.ViTForImageClassification, config, processor)


def make_sam2(folder: Path) -> Path:
    """Write a Segment Anything 2 for video, which is also read as the one for images.

    The memory attention accepts only 64 channels, and pointers with a multiple of them.
    """
    vision = {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [SIDE, SIDE],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 1, 1],
            "window_size_per_stage": [4, 4, 4, 4],
            "window_positional_embedding_background_size": [4, 4],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
        "fpn_hidden_size": 128,
    }
    config = transformers.Sam2VideoConfig(
        vision_config=transformers.Sam2VisionConfig(**vision),
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE, "mask_input_channels": 8},
        mask_decoder_config={
            "hidden_size": 128,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        image_size=SIDE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
    )
    processor = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return _write(folder, transformers.Sam2VideoModel, config, processor)


def make_sam3(folder: Path) -> Path:
    """Write a Segment Anything 3 with a tokenizer of letters."""
    config = transformers.Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 112,
                "patch_size": 14,
                "window_size": 4,
                "global_attn_indexes": [1],
                "pretrain_image_size": 56,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 32,
            "projection_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        geometry_encoder_config={
            "hidden_size": 32,
            "num_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        detr_encoder_config={
            "hidden_size": 32,
            "num_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        detr_decoder_config={
            "hidden_size": 32,
            "num_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "num_queries": 8,
        },
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    processor = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    path = _write(folder, transformers.Sam3Model, config, processor)
    tokenizer_of_letters(folder).save_pretrained(folder)
    return path


def _write(
    folder: Path,
    model: Any,
    config: Any,
    processor: Any,
    adjust: Callable[[Any], None] = lambda made: None,
) -> Path:
    torch.manual_seed(0)
    made = model(config)
    with torch.no_grad():
        for name, values in sorted(made.named_parameters()):
            if "norm" not in name.lower():
                values.add_(torch.randn_like(values) * 0.05)  # no parameter stays zero
        adjust(made)
    made.save_pretrained(folder)
    if isinstance(processor, dict):
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    else:
        processor.save_pretrained(folder)
    return folder


def tokenizer_of_words(folder: Path) -> Any:
    """Return a tokenizer of whole words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))


def tokenizer_of_letters(folder: Path) -> Any:
    """Return a tokenizer of letters. Its first word is unused, because OWLv2 drops number 0."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [
        "!",
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(f"{letter}</w>" for letter in letters),
    ]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return transformers.CLIPTokenizerFast(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=16,
    )
