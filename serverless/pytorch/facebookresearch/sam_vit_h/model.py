"""Segment Anything as an interactor: makes a mask of clicks and a box; embeddings are optional."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common.checkpoints import CheckpointError, load_strictly, read_parameters
from common.errors import BadInput
from common.huggingface.interaction import prompt_inputs
from common.image_embedding import WANTS, ImageEmbedding, KeptEmbeddings
from common.images import resize
from common.inputs import read_word
from common.masks import interactor_answer
from common.networks.prompts import Prompt, read_prompt
from common.torch_runtime import (
    describe,
    fingerprint,
    half_precision,
    to_tensor,
    torch_device,
)
from common.weights import weights_file
from network import VARIANTS, renamed, without_weights
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

DEFAULT_VARIANT = "vit_h"
WEIGHTS = {
    "vit_h": "sam_vit_h_4b8939.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_b": "sam_vit_b_01ec64.pth",
}
MEAN = (123.675, 116.28, 103.53)  # of red, green and blue, ImageNet
DEVIATION = (58.395, 57.12, 57.375)


def wanted_file() -> str:
    """Return the name of the checkpoint to look for (environment: SAM_VARIANT)."""
    variant = os.environ.get("SAM_VARIANT") or DEFAULT_VARIANT
    if variant not in WEIGHTS:
        raise ValueError(f"SAM_VARIANT is {variant!r}; use one of {', '.join(WEIGHTS)}")
    return WEIGHTS[variant]


def load_network(path: Path) -> tuple[Any, str]:
    """Load an official checkpoint, by name and strictly; return the network and its variant.

    The width of the checkpoint's tokens tells its variant, whatever SAM_VARIANT says.
    """
    parameters = read_parameters(path)
    places = parameters.get("image_encoder.pos_embed")
    width = None if places is None else places.shape[-1]
    for variant, vision in VARIANTS.items():
        if vision["hidden_size"] == width:
            network = without_weights(vision)
            load_strictly(network, renamed(parameters), source=path.name, assign=True)
            return network.eval().float(), variant
    raise CheckpointError(f"the checkpoint {path.name!r} is of no known size of Segment Anything")


def scaled_size(image_size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the height and width with the longer side made ``side`` pixels."""
    ratio = side / max(image_size)
    return max(1, int(image_size[0] * ratio + 0.5)), max(1, int(image_size[1] * ratio + 0.5))


def prepare(image: Image, side: int) -> Tensor:
    """Scale, normalise and pad an RGB image at the right and bottom: 1 x 3 x side x side."""
    height, width = scaled_size((image.shape[0], image.shape[1]), side)
    pixels = to_tensor(resize(image, width=width, height=height))
    normed = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    return functional.pad(normed, (0, side - width, 0, side - height))[None]


def enlarge(logits: Tensor, image_size: tuple[int, int], side: int) -> Tensor:
    """Return the decoder's small logits for each pixel of the image, bilinear."""
    height, width = scaled_size(image_size, side)
    whole = functional.interpolate(logits[None, None], (side, side), mode="bilinear")
    answer = functional.interpolate(whole[..., :height, :width], image_size, mode="bilinear")
    return answer[0, 0]


def load() -> Interactor:
    """Load the chosen checkpoint (environment: SAM_VARIANT, MODEL_PATH)."""
    network, variant = load_network(weights_file(wanted_file(), env="MODEL_PATH"))
    weights = fingerprint(network.vision_encoder)
    return Interactor(network, version=f"segment-anything-{variant}-{weights}")


class Interactor:
    """The loaded network on its device."""

    def __init__(self, network: Any, *, version: str) -> None:
        self._device = torch_device()
        self._network = network.to(self._device)
        self._version = version
        self._kept = KeptEmbeddings()
        vision = network.config.vision_config
        self._side = vision.image_size
        cells = vision.image_size // vision.patch_size
        self._shape = (1, vision.output_channels, cells, cells)  # of an embedding

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer what ``want`` asks for.

        "mask" is the mask of the prompt. "embedding" is the embedding, and the mask if there is a
        prompt. "blob" is the bare array of the embedding, megabytes of text, which CVAT's browser
        plugin needs from the function of this id. Without ``want``, a call with an image gets the
        blob, and the mask if there is a prompt; a call with an embedding gets the mask.
        """
        want = read_word(body, "want", WANTS)
        has_embedding = body.get("embedding") is not None or (
            body.get("embedding_key") is not None and body.get("image") is None
        )
        prompt = None if want == "blob" else read_prompt(body)
        if prompt is None and (want == "mask" or (want is None and has_embedding)):
            raise BadInput("there is no positive point in 'pos_points' and no box in 'obj_bbox'")
        embedding = self._kept.read(body, self.embed, version=self._version, shape=self._shape)
        answer: dict[str, Any] = {}
        if want == "embedding":
            answer["embedding"] = embedding.to_json(version=self._version)
        elif want == "blob" or (want is None and not has_embedding):
            answer["blob"] = embedding.to_json(version=self._version)["data"]
        if prompt is not None:
            answer.update(interactor_answer(self.mask(embedding, prompt)))
        return answer

    @torch.inference_mode()
    def embed(self, image: Image) -> ImageEmbedding:
        """Return the embedding of an image."""
        pixels = prepare(image, self._side).to(self._device)
        with half_precision(self._device):
            values = self._network.get_image_embeddings(pixels)
        return ImageEmbedding(values.float().cpu().numpy(), (image.shape[0], image.shape[1]))

    def mask(self, embedding: ImageEmbedding, prompt: Prompt) -> NDArray[np.bool_]:
        """Return the mask of a prompt, height x width."""
        return np.asarray(self.logits(embedding, prompt).cpu().numpy() > 0)

    @torch.inference_mode()
    def logits(self, embedding: ImageEmbedding, prompt: Prompt) -> Tensor:
        """Return the logit of each pixel of the image."""
        height, width = embedding.image_size
        scaled_height, scaled_width = scaled_size(embedding.image_size, self._side)
        inputs = prompt_inputs(prompt, (scaled_width / width, scaled_height / height))
        outputs = self._network(
            image_embeddings=torch.tensor(
                embedding.values, device=self._device, dtype=torch.float32
            ),
            multimask_output=prompt.ambiguous,
            **{name: value.to(self._device) for name, value in inputs.items()},
        )
        best = int(outputs.iou_scores[0, 0].argmax())
        return enlarge(outputs.pred_masks[0, 0, best], embedding.image_size, self._side)
