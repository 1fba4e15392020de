"""Segment Anything 2 and its relatives as interactors: masks of clicks, a box and a mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from torch.nn import functional

from common.errors import BadInput
from common.huggingface.pretrained import read_model
from common.huggingface.squares import SquareInput
from common.image_embedding import ImageEmbedding, KeptEmbeddings
from common.inputs import read_word
from common.masks import interactor_answer, read_run_lengths
from common.networks.prompts import BOTTOM_RIGHT, PADDING, TOP_LEFT, Prompt, read_prompt
from common.torch_runtime import describe, fingerprint, half_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Image = NDArray[np.uint8]
    Mask = NDArray[np.bool_]

WANTS = ("mask", "embedding")
FAMILIES = ("sam2", "sam2_video", "edgetam", "edgetam_video", "sam3_tracker", "sam3_video")
SURE = 10.0  # logit of a pixel of a mask that a person sends


class Interactor:
    """Masks of clicks, a box and a mask. The embedding of an image can be sent back."""

    def __init__(self, model: Any, square: SquareInput, device: torch.device) -> None:
        self._model = model
        self._square = square
        self._device = device
        self._kept = KeptEmbeddings()
        self._version = f"{model.config.model_type}-{fingerprint(model.vision_encoder)}"
        self._shapes = _embedding_shapes(model)
        self._numbers = sum(int(np.prod(shape)) for shape in self._shapes)  # of an embedding

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Interactor:
        """Load the model of a folder."""
        model = read_model(transformers.AutoModelForMaskGeneration, folder, device)
        if model.config.model_type not in FAMILIES:
            raise ValueError(
                f"a model of type {model.config.model_type!r} is not one of {', '.join(FAMILIES)}"
            )
        side = model.prompt_encoder.input_image_size
        return cls(model, SquareInput.read(folder, side=side), device)

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer the mask of a prompt, and with ``want: "embedding"`` the image's embedding."""
        want = read_word(body, "want", WANTS)
        prompt = read_prompt(body)
        drawn = body.get("mask")
        if prompt is None and drawn is None and want != "embedding":
            raise BadInput(
                "there is no positive point in 'pos_points', no box in 'obj_bbox' and no 'mask'"
            )
        embedding = self._kept.read(body, self.embed, version=self._version, shape=(self._numbers,))
        answer: dict[str, Any] = {}
        if want == "embedding":
            answer["embedding"] = embedding.to_json(version=self._version, dtype="float16")
        if prompt is not None or drawn is not None:
            height, width = embedding.image_size
            mask = (
                None
                if drawn is None
                else read_run_lengths(drawn, name="mask", width=width, height=height)
            )
            answer.update(interactor_answer(self.mask(embedding, prompt, mask)))
        return answer

    @torch.inference_mode()
    def embed(self, image: Image) -> ImageEmbedding:
        """Return the embedding of an image: the feature maps, one after the other."""
        pixels = self._square.prepare(image, self._device)
        with half_precision(self._device):
            maps = self._model.get_image_embeddings(pixels)
        values = torch.cat([each.float().flatten() for each in maps]).cpu().numpy()
        return ImageEmbedding(values, (image.shape[0], image.shape[1]))

    def mask(self, embedding: ImageEmbedding, prompt: Prompt | None, drawn: Mask | None) -> Mask:
        """Return the mask of a prompt, height x width."""
        return np.asarray(self.logits(embedding, prompt, drawn).cpu().numpy() > 0)

    @torch.inference_mode()
    def logits(
        self, embedding: ImageEmbedding, prompt: Prompt | None, drawn: Mask | None
    ) -> Tensor:
        """Return the logit of each pixel of the image."""
        outputs = self._model(
            image_embeddings=self._maps(embedding),
            multimask_output=prompt is not None and prompt.ambiguous and drawn is None,
            **self._prompt_inputs(prompt, drawn, embedding.image_size),
        )
        best = int(outputs.iou_scores[0, 0].argmax())
        logits = outputs.pred_masks[0, 0, best].float()
        return functional.interpolate(
            logits[None, None], embedding.image_size, mode="bilinear", align_corners=False
        )[0, 0]

    def _prompt_inputs(
        self, prompt: Prompt | None, drawn: Mask | None, image_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        inputs: dict[str, Tensor] = {}
        if prompt is not None:
            inputs = prompt_inputs(prompt, self._square.scale(image_size))
        if drawn is not None:
            inputs["input_masks"] = mask_logits(drawn)
        return {name: value.to(self._device) for name, value in inputs.items()}

    def _maps(self, embedding: ImageEmbedding) -> list[Tensor]:
        values = torch.from_numpy(np.asarray(embedding.values, dtype=np.float32))
        parts = values.split([int(np.prod(shape)) for shape in self._shapes])
        return [
            part.reshape(shape).to(self._device)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]


def prompt_inputs(prompt: Prompt, scale: tuple[float, float]) -> dict[str, Tensor]:
    """Return a prompt as arguments of a model of this family.

    `scale` has the factors of x and y from pixels of the image to those of the model's input.
    """
    inputs = {}
    points, kinds = prompt.points()
    clicks = (kinds != PADDING) & (kinds != TOP_LEFT) & (kinds != BOTTOM_RIGHT)
    if clicks.any():  # the models add the padding point themselves
        inputs["input_points"] = torch.from_numpy(points[clicks] * scale)[None, None].float()
        inputs["input_labels"] = torch.from_numpy(kinds[clicks])[None, None].long()
    if prompt.box is not None:
        box = prompt.box.reshape(2, 2) * scale
        inputs["input_boxes"] = torch.from_numpy(box.reshape(1, 1, 4)).float()
    return inputs


def mask_logits(mask: Mask) -> Tensor:
    """Return a mask as the decoder's input, 1 x 1 x height x width."""
    return torch.from_numpy(np.where(mask, SURE, -SURE).astype(np.float32))[None, None]


def _embedding_shapes(model: Any) -> list[tuple[int, ...]]:
    """Return the shape of each feature map; the maps of the decoder's convolutions are thinner."""
    sizes = [tuple(size) for size in model.backbone_feature_sizes]
    width = model.hidden_dim
    channels = [width // 8, width // 4, width]
    return [(1, count, *size) for count, size in zip(channels, sizes, strict=True)]
