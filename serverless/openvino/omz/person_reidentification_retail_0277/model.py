"""Person re-identification: an embedding for each box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from common.devices import OpenVinoNetwork
from common.images import resize
from common.matching import answer_match
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

DEFAULT_THRESHOLD = 0.5  # of the cosine distance
WIDTH, HEIGHT = 128, 256  # pixels of the network's input


def cut(image: Image, points: Sequence[float]) -> Image:
    """Return the pixels of a box, at least one, even if the box lies outside the image."""
    height, width = image.shape[:2]
    left, right = sorted((points[0], points[2]))
    top, bottom = sorted((points[1], points[3]))
    x0 = int(np.clip(np.floor(left), 0, width - 1))
    y0 = int(np.clip(np.floor(top), 0, height - 1))
    x1 = int(np.clip(np.ceil(right), x0 + 1, width))
    y1 = int(np.clip(np.ceil(bottom), y0 + 1, height))
    return image[y0:y1, x0:x1]


def prepare(crop: Image) -> NDArray[np.float32]:
    """Resize an RGB crop and turn it to BGR: 1 x 3 x 256 x 128, 0 to 255."""
    bgr = resize(crop, width=WIDTH, height=HEIGHT)[..., ::-1]
    return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None], dtype=np.float32)


def load() -> Matcher:
    """Load the network (environment: MODEL_PATH)."""
    path = weights_file("person-reidentification-retail-0277.xml", env="MODEL_PATH")
    return Matcher(OpenVinoNetwork(path))


class Matcher:
    """The loaded network. Its embeddings have 256 numbers (retail-0277) or 512 (retail-0300)."""

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer, for each of ``boxes0``, the index of the same person in ``boxes1``, or -1."""
        return answer_match(body, self.embed, default_threshold=DEFAULT_THRESHOLD)

    def embed(self, image: Image, boxes: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
        """Return an embedding for each box, shape (n, length)."""
        rows = [self._network(prepare(cut(image, box["points"])))[0].ravel() for box in boxes]
        return np.array(rows, dtype=np.float32).reshape(len(rows), -1)
