"""CenterFace (arXiv:1911.03599): faces as points of a heat map, four pixels a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from common.boxes import clip, nms
from common.devices import OpenVinoNetwork
from common.images import resize
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

WEIGHTS = "centerface_ir.xml"
STRIDE = 4  # pixels of the input a cell of the heat map
MULTIPLE = 32  # the input's sides are multiples of this
MAX_SIDE = 960  # of the input, pixels; larger images are scaled down
MAX_IOU = 0.3
MAX_CANDIDATES = 1000  # bounds the work when the threshold is 0
MAX_FACES = 100


class CenterFace:
    """The network: finds boxes and scores of faces on an RGB image of any size."""

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network

    @classmethod
    def load(cls) -> CenterFace:
        """Load the converted weights (environment: DETECTOR_MODEL_PATH)."""
        return cls(OpenVinoNetwork(weights_file(WEIGHTS, env="DETECTOR_MODEL_PATH")))

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def faces(self, image: NDArray[np.uint8], threshold: float) -> tuple[Floats, Floats]:
        """Return boxes (n, 4) in pixels and scores of at least ``threshold``, best first."""
        height, width = image.shape[:2]
        rows, columns = input_size(height, width)
        scaled = resize(image, width=columns, height=rows).astype(np.float32)
        heat, scale, offset = self._network(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))[
            :3
        ]
        boxes, scores = decode(heat[0, 0], scale[0], offset[0], threshold)
        boxes = boxes * np.array([width / columns, height / rows] * 2)
        boxes = clip(boxes, width=width, height=height)
        sized = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        boxes, scores = boxes[sized], scores[sized]
        kept = nms(boxes, scores, max_iou=MAX_IOU)[:MAX_FACES]
        return boxes[kept], scores[kept]


def input_size(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the input: multiples of 32, about the image's or fewer."""
    ratio = min(1.0, MAX_SIDE / max(height, width))
    rows, columns = (max(1, round(side * ratio / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns


def decode(heat: Floats, scale: Floats, offset: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Return boxes in input pixels and scores of the cells that reach the threshold."""
    rows, columns = np.nonzero(heat >= threshold)
    order = np.argsort(-heat[rows, columns], kind="stable")[:MAX_CANDIDATES]
    rows, columns = rows[order], columns[order]
    sides = np.exp(scale[:, rows, columns].astype(np.float64)) * STRIDE  # height, width
    y = (rows + offset[0, rows, columns] + 0.5) * STRIDE
    x = (columns + offset[1, rows, columns] + 0.5) * STRIDE
    corners = [x - sides[1] / 2, y - sides[0] / 2, x + sides[1] / 2, y + sides[0] / 2]
    return np.stack(corners, axis=1), heat[rows, columns]
