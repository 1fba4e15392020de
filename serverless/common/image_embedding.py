"""The JSON form of an image embedding.

An interactor returns it with the first click; the caller sends it back with the next ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common import binary
from common.errors import BadInput
from common.images import max_pixels
from common.state import pack_array, unpack_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: the values of ``want``: what an interactor with embeddings can be asked for
WANTS = ("mask", "blob", "embedding")


@dataclass(frozen=True)
class ImageEmbedding:
    """The output of an image encoder for one image."""

    values: NDArray[np.floating]
    image_size: tuple[int, int]  # height, width in pixels

    def to_json(self, *, version: str, dtype: str = "float32") -> dict[str, Any]:
        """Return the JSON form: little-endian numbers in base64, with image size and version.

        A caller that accepts a binary body gets the numbers as bytes.
        ``version`` identifies the weights. An embedding of other weights would give wrong masks.
        """
        packed = pack_array(self.values, dtype, raw=binary.is_accepted())
        return {**packed, "image_size": list(self.image_size), "version": version}

    @classmethod
    def from_json(cls, sent: object, *, version: str, shape: tuple[int, ...]) -> ImageEmbedding:
        """Read the form of `to_json`; raise BadInput if it is damaged or of other weights."""
        if not isinstance(sent, dict):
            raise BadInput("'embedding' is not an object; send what this function answered")
        if sent.get("version") != version:
            raise BadInput(
                f"'embedding' is of version {sent.get('version')!r}, this function is {version!r}; "
                "send 'image' instead"
            )
        values = unpack_array(sent, name="embedding")
        if values.shape != shape:
            raise BadInput(f"'embedding' has shape {values.shape}, expected {shape}")
        size = sent.get("image_size")
        if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
            raise BadInput("'embedding' has no image_size of [height, width]")
        # The mask will have this size, so the limit of images holds for it.
        limit = max_pixels()
        if size[0] * size[1] > limit:
            raise BadInput(
                f"'embedding' has {size[1]}x{size[0]} pixels, more than the limit of {limit}"
            )
        return cls(values=values, image_size=(size[0], size[1]))


def _is_side(value: object) -> bool:
    return type(value) is int and value > 0
