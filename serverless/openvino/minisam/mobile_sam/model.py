"""MobileSAM as an interactor: makes a mask of clicks and a box; embeddings are optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import BadInput
from common.image_embedding import WANTS, ImageEmbedding, KeptEmbeddings
from common.inputs import read_word
from common.masks import interactor_answer
from common.networks.mobile_sam import EMBEDDING_SHAPE, MobileSam
from common.networks.prompts import read_prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load() -> Interactor:
    """Load both networks."""
    return Interactor(MobileSam.load())


class Interactor:
    """The loaded networks."""

    def __init__(self, network: MobileSam) -> None:
        self._network = network
        self._kept = KeptEmbeddings()
        # Identifies the weights: an embedding of other weights would give wrong masks.
        self._version = f"mobile-sam-{network.fingerprint}"

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer what ``want`` asks for; without it, the mask of the prompt.

        "mask" is the mask of the prompt. "embedding" is the embedding, and the mask if there is a
        prompt. "blob" is the bare array of the embedding.
        """
        want = read_word(body, "want", WANTS)
        prompt = None if want == "blob" else read_prompt(body)
        if prompt is None and want not in ("blob", "embedding"):
            raise BadInput("there is no positive point in 'pos_points' and no box in 'obj_bbox'")
        embedding = self._kept.read(body, self._embed, version=self._version, shape=EMBEDDING_SHAPE)
        result: dict[str, Any] = {}
        if want == "embedding":
            result["embedding"] = embedding.to_json(version=self._version)
        elif want == "blob":
            result["blob"] = embedding.to_json(version=self._version)["data"]
        if prompt is not None:
            mask, place = self._network.mask(embedding.values, embedding.image_size, prompt)
            result.update(interactor_answer(mask, at=place))
        return result

    def _embed(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        return ImageEmbedding(self._network.embed(image), (image.shape[0], image.shape[1]))
