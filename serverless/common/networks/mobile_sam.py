"""MobileSAM: TinyViT image encoder (arXiv:2306.14289) and Segment Anything's mask decoder."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from common.boxes import iou
from common.devices import OpenVinoNetwork, once_each
from common.images import resize
from common.masks import NOTHING, Place, bounds
from common.networks.prompts import Prompt
from common.weights import checksum, weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.masks import Mask

    Floats = NDArray[np.floating]

ENCODER = "mobile_sam_encoder.onnx"
DECODER = "mobile_sam_decoder.onnx"
DECODER_IR = "mobile_sam_decoder_ir.xml"
MASKS = 4  # of the decoder: one for clear prompts, three for ambiguous ones
RULES = ("box", "standard")  # how the answer is chosen of the masks of a box
FIRST_MASK_FACTOR = 1.2  # of the first mask's score by the rule "box"
VIEW_SIDE = 192  # of the part on which a mask is compared with a box, pixels
# The decoder's nodes with all masks and their predicted IoU, before it chooses one mask.
_ALL = {"/Flatten": "all_masks", "/Flatten_1": "all_guesses"}
SIDE = 1024  # of the encoder's input, pixels
LOW_SIDE = 256  # of the decoder's mask
EMBEDDING_SHAPE = (1, 256, 64, 64)
# Of red, green and blue (ImageNet).
MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def convert(source: Path, target: Path) -> None:
    """Write the decoder without its last steps: the choice of a mask, and its enlargement.

    The decoder counts points and takes a box alone, which is two, for an ambiguous prompt. Its
    enlargement covers the whole image, which costs more than the decoder itself on a large one.
    """
    openvino: Any = importlib.import_module("openvino")
    whole = openvino.Core().read_model(str(source / DECODER))
    nodes = {node.get_friendly_name(): node for node in whole.get_ops()}
    outputs = [nodes[name].output(0) for name in _ALL]
    for output, name in zip(outputs, _ALL.values(), strict=True):
        output.get_tensor().set_names({name})
    inputs = [port.get_node() for port in whole.inputs if port.any_name != "orig_im_size"]
    cut = openvino.Model(outputs, inputs, "mobile_sam_decoder")
    openvino.save_model(cut, str(target / DECODER_IR), compress_to_fp16=False)


class MobileSam:
    """The two networks: the encoder embeds an image, the decoder makes masks of a prompt."""

    def __init__(
        self, encoder: OpenVinoNetwork, decoder: OpenVinoNetwork, *, fingerprint: str
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._rule = mask_rule()
        self.fingerprint = fingerprint  # of the encoder's weights

    @classmethod
    def load(cls) -> MobileSam:
        """Load the weights (environment: MOBILE_SAM_ENCODER_PATH, MOBILE_SAM_DECODER_PATH)."""
        encoder = weights_file(ENCODER, env="MOBILE_SAM_ENCODER_PATH")
        return cls(
            OpenVinoNetwork(encoder),
            OpenVinoNetwork(weights_file(DECODER_IR, env="MOBILE_SAM_DECODER_PATH")),
            fingerprint=checksum(encoder)[:12],
        )

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return once_each(self._encoder.device, self._decoder.device)

    def embed(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embedding of an image, shape (1, 256, 64, 64)."""
        return np.asarray(self._encoder(prepare(image))[0])

    def mask(
        self, embedding: Floats, image_size: tuple[int, int], prompt: Prompt
    ) -> tuple[Mask, Place]:
        """Return the mask of a prompt: the part of the image with its pixels, and its place."""
        coordinates, kinds = prompt.points()
        outputs = self._decoder.run_named(
            image_embeddings=embedding.astype(np.float32),
            point_coords=(coordinates * scale(image_size))[None].astype(np.float32),
            point_labels=kinds[None].astype(np.float32),
            mask_input=np.zeros((1, 1, LOW_SIDE, LOW_SIDE), dtype=np.float32),
            has_mask_input=np.zeros(1, dtype=np.float32),
        )
        masks = outputs["all_masks"].reshape(MASKS, LOW_SIDE, LOW_SIDE)
        predicted_ious = outputs["all_guesses"].ravel()
        index = choose(masks, predicted_ious, prompt, image_size, rule=self._rule)
        return cut_out(masks[index], image_size)


def mask_rule() -> str:
    """Return the rule that chooses the mask of a box (environment: MOBILE_SAM_RULE)."""
    rule = os.environ.get("MOBILE_SAM_RULE") or RULES[0]
    if rule not in RULES:
        raise ValueError(f"MOBILE_SAM_RULE is {rule!r}; use one of {', '.join(RULES)}")
    return rule


def choose(
    masks: Floats, predicted_ious: Floats, prompt: Prompt, image_size: tuple[int, int], *, rule: str
) -> int:
    """Return the index of the mask that is the answer.

    By Segment Anything's rule ("standard") that is the first mask, and for a single point the one
    of the other three with the highest predicted IoU. By the rule "box", a prompt with a box gets
    the mask that fits the box best; the first mask is preferred.
    """
    if prompt.box is not None and rule == "box":
        cells = prompt.box * scale(image_size) * LOW_SIDE / SIDE
        scores = np.array([box_score(mask, cells, _seen(image_size)) for mask in masks])
        scores[0] *= FIRST_MASK_FACTOR
        return int(scores.argmax())
    return 1 + int(predicted_ious[1:].argmax()) if prompt.ambiguous else 0


def box_score(logits: Floats, box: Floats, seen: tuple[float, float]) -> float:
    """Return how well a mask fits a box, from 0 to 1; the box and the seen part are in cells.

    The score is the product of three shares: the IoU of the mask's bounding box and the box, the
    mask's pixels inside the box, and the pixels that stay in the mask when its threshold rises from
    -1 to 1 (Segment Anything's stability score). They are measured on a view of the box and its
    surroundings of its own size, because a small box has few cells.
    """
    sides = np.maximum(box[2:] - box[:2], 0.5)
    view = np.concatenate([box[:2] - sides, box[2:] + sides]).clip(0, [*seen, *seen])
    if (view[2:] <= view[:2]).any():
        return 0.0  # the box lies outside the image
    picture = Image.fromarray(logits.astype(np.float32))
    enlarged = np.asarray(
        picture.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR, box=tuple(view))
    )
    mask = enlarged > 0
    ends = bounds(mask)
    if ends is None:
        return 0.0
    around = np.array([[ends[0], ends[1], ends[2] + 1, ends[3] + 1]], dtype=np.float64)
    in_view = (box - np.tile(view[:2], 2)) * VIEW_SIDE / np.tile(view[2:] - view[:2], 2)
    left, top, right, bottom = (int(value) for value in in_view.round().clip(0, VIEW_SIDE))
    inside = mask[top:bottom, left:right].sum() / mask.sum()
    stability = (enlarged > 1).sum() / (enlarged > -1).sum()
    return float(iou(around, in_view[None])[0, 0] * inside * stability)


def scale(image_size: tuple[int, int]) -> float:
    """Return the encoder's input pixels per image pixel, for an image of (height, width)."""
    return SIDE / max(image_size)


def scaled_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that an image has inside the encoder's input."""
    ratio = scale(image_size)
    return max(1, int(image_size[0] * ratio + 0.5)), max(1, int(image_size[1] * ratio + 0.5))


def prepare(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the input (1, 3, 1024, 1024): longer side 1024, normalised, zeros right and below."""
    height, width = scaled_size((image.shape[0], image.shape[1]))
    canvas = np.zeros((1, 3, SIDE, SIDE), dtype=np.float32)
    planes = canvas[0, :, :height, :width]
    planes[...] = resize(image, width=width, height=height).transpose(2, 0, 1)
    planes -= MEAN[:, None, None]
    planes /= DEVIATION[:, None, None]
    return canvas


def cut_out(logits: Floats, image_size: tuple[int, int]) -> tuple[Mask, Place]:
    """Return the mask where the decoder's logits are above 0, and its place in the image.

    Only the part with such logits is enlarged: a whole large image costs more than the decoder.
    """
    cells = bounds(logits > 0)
    if cells is None:
        return NOTHING, (0, 0)
    pixels = []  # first and one after the last, of columns and of rows
    axes = zip(cells[:2], cells[2:], image_size[::-1], _seen(image_size), strict=True)
    for low, high, own, seen in axes:
        # Interpolation uses one more cell on each side, or more where a pixel spans several.
        ratio = own / seen
        margin = max(1.0, 1 / ratio) + 1
        first, last = (low - margin) * ratio, (high + 1 + margin) * ratio
        pixels.append((max(0, math.floor(first)), min(own, math.ceil(last))))
    (left, right), (top, bottom) = pixels
    if right <= left or bottom <= top:
        return NOTHING, (0, 0)  # the mask lies in the padding
    return enlarge_logits(logits, image_size, (left, top, right, bottom)) > 0, (left, top)


def enlarge_logits(
    logits: Floats, image_size: tuple[int, int], part: tuple[int, int, int, int] | None = None
) -> Floats:
    """Return the decoder's logits for each pixel of the image, or of its part, bilinear.

    The part is left, top, right and bottom in pixels, the latter two exclusive.
    """
    height, width = image_size
    left, top, right, bottom = part or (0, 0, width, height)
    columns, rows = _seen(image_size)
    x, y = columns / width, rows / height  # cells a pixel
    cells = (left * x, top * y, right * x, bottom * y)
    picture = Image.fromarray(logits.astype(np.float32))
    size = (right - left, bottom - top)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=cells))


def _seen(image_size: tuple[int, int]) -> tuple[float, float]:
    """Return how many of the decoder's columns and rows show the image, not the padding."""
    height, width = scaled_size(image_size)
    return width * LOW_SIDE / SIDE, height * LOW_SIDE / SIDE
