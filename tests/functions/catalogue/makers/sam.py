"""The fixture of Segment Anything, by the package segment-anything.

Needs ``segment-anything==1.0`` and ``torchvision==0.28.0`` (both ``--no-deps``) beside
``torch==2.13.0``. Re-run so: the embedding, logits and guesses differ from the file by at most
2e-6, areas not at all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from tests.functions.catalogue.recipes import fixture, random_picture, random_weights, samples

CHANNELS = 256  # of the embedding
PROMPTS: list[dict[str, Any]] = [
    {"pos": [[60, 40]], "neg": [], "box": None},
    {"pos": [[60, 40], [100, 70]], "neg": [[20, 20]], "box": None},
    {"pos": [], "neg": [], "box": [30, 20, 120, 80]},
    {"pos": [[60.5, 40.25]], "neg": [[20, 20]], "box": [30, 20, 120, 80]},
]


def network(shape: dict[str, Any], gains: dict[str, float]) -> Sam:
    """Build the package's network of a small shape, filled with the recipe's weights."""
    cells = shape["side"] // 16
    encoder = ImageEncoderViT(
        img_size=shape["side"],
        patch_size=16,
        embed_dim=shape["width"],
        depth=shape["depth"],
        num_heads=shape["heads"],
        mlp_ratio=4,
        out_chans=CHANNELS,
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=shape["window"],
        global_attn_indexes=tuple(shape["global_blocks"]),
    )
    prompts = PromptEncoder(
        embed_dim=CHANNELS,
        image_embedding_size=(cells, cells),
        input_image_size=(shape["side"], shape["side"]),
        mask_in_chans=16,
    )
    decoder = MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=8, mlp_dim=2048),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=CHANNELS,
    )
    whole = Sam(encoder, prompts, decoder)
    sizes = {name: tuple(value.shape) for name, value in whole.state_dict().items()}
    weights = random_weights(sizes, gains)
    whole.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return whole.eval()


def make() -> dict[str, Any]:
    """Return the fixture; shape and gains are those of the existing file."""
    present = fixture("sam_small.outputs.json")
    predictor = SamPredictor(network(present["shape"], present["gains"]))
    predictor.set_image(random_picture(90, 150, seed=3))
    return {
        "source": present["source"],
        "shape": present["shape"],
        "gains": present["gains"],
        "embedding": samples(predictor.get_image_embedding().numpy(), 256),
        "prompts": [answer(predictor, prompt) for prompt in PROMPTS],
    }


def answer(predictor: SamPredictor, prompt: dict[str, Any]) -> dict[str, Any]:
    """Return a prompt with the best mask's logits, its area in pixels, and the guessed IoUs."""
    points = [*prompt["pos"], *prompt["neg"]]
    kinds = [1] * len(prompt["pos"]) + [0] * len(prompt["neg"])
    logits, guesses, _ = predictor.predict(
        point_coords=np.array(points, dtype=np.float64) if points else None,
        point_labels=np.array(kinds) if points else None,
        box=None if prompt["box"] is None else np.array(prompt["box"], dtype=np.float64),
        multimask_output=len(points) == 1 and prompt["box"] is None,
        return_logits=True,
    )
    best = logits[int(guesses.argmax())]
    return {
        **prompt,
        "guesses": [float(guess) for guess in guesses],
        "logits": samples(best, 256),
        "area": int((best > 0).sum()),
    }
