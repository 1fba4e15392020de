"""The person detector RTMDet: prepares its input and decodes its output to boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from common.boxes import letterbox, nms
from common.checkpoints import load_strictly, read_parameters
from common.torch_runtime import to_tensor, torch_device
from rtmdet import STRIDES, RtmDet
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

SIDE = 320  # pixels of the network's square input
MEAN_BGR = (103.53, 116.28, 123.675)
DEVIATION_BGR = (57.375, 57.12, 58.395)
# MMPose's settings for the detection before pose estimation.
MIN_SCORE = 0.3
NMS_IOU = 0.3
MAX_PEOPLE = 100
# Data of mmdet's pre-processor, which some releases store with the weights.
_CONSTANTS = ("data_preprocessor.",)


def load_network(path: Path) -> RtmDet:
    """Load MMPose's checkpoint of the detector, by name and strictly."""
    parameters = read_parameters(path, within="state_dict")
    trained = {name: value for name, value in parameters.items() if not name.startswith(_CONSTANTS)}
    network = RtmDet()
    load_strictly(network, trained, source=path.name)
    return network.eval()


def normalise(canvas: Image) -> Tensor:
    """Turn a square RGB image into the network's input, 1 x 3 x side x side."""
    mean, deviation = torch.tensor(MEAN_BGR), torch.tensor(DEVIATION_BGR)
    pixels = to_tensor(canvas, bgr=True)
    return ((pixels - mean[:, None, None]) / deviation[:, None, None])[None]


def decode(
    levels: Sequence[tuple[Tensor, Tensor]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return all boxes (xyxy in the square's pixels) and scores of one image's answer."""
    boxes, scores = [], []
    for stride, (logits, distances) in zip(STRIDES, levels, strict=True):
        height, width = logits.shape[-2:]
        y, x = np.mgrid[0:height, 0:width].reshape(2, -1) * float(stride)
        left, top, right, bottom = distances[0].flatten(1).cpu().numpy().astype(np.float64)
        boxes.append(np.stack([x - left, y - top, x + right, y + bottom], axis=1))
        scores.append(logits[0].flatten().sigmoid().cpu().numpy().astype(np.float64))
    return np.concatenate(boxes), np.concatenate(scores)


class PersonDetector:
    """The loaded detector on its device."""

    def __init__(self, network: RtmDet) -> None:
        self._device = torch_device()
        self.network = network.to(self._device)

    @torch.inference_mode()
    def detect(self, image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the boxes (xyxy in the image's pixels) and scores of people, best first."""
        canvas, placed = letterbox(image, width=SIDE, height=SIDE, centre=False)
        boxes, scores = decode(self.network(normalise(canvas).to(self._device)))
        likely = np.flatnonzero(scores >= MIN_SCORE)
        boxes, scores = np.asarray(placed.undo(boxes[likely]), dtype=np.float64), scores[likely]
        kept = nms(boxes, scores, max_iou=NMS_IOU)[:MAX_PEOPLE]
        wide = (boxes[kept, 2:] > boxes[kept, :2]).all(axis=1)
        return boxes[kept][wide], scores[kept][wide]
