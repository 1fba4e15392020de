"""Poses: SSDLite finds persons, MoveNet Thunder finds 17 points of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from common.boxes import square
from common.detection import answer_image
from common.devices import OpenVinoNetwork, once_each
from common.images import crop
from common.networks.ssdlite import SsdLite
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

LABEL = "person"
DEFAULT_THRESHOLD = 0.5
WEIGHTS = "movenet_thunder_ir.xml"
SIDE = 256  # of the input, pixels
MARGIN = 1.25  # side of the square around a person, in longer sides of the box
MAX_PERSONS = 40  # each costs a run of the network; bounds the time when the threshold is 0
VISIBLE = 0.25  # score from which a point counts as visible
# In the order of the output (COCO's keypoints).
POINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


def load() -> PoseEstimator:
    """Load the weights (environment: SSDLITE_MODEL_PATH, MOVENET_MODEL_PATH)."""
    path = weights_file(WEIGHTS, env="MOVENET_MODEL_PATH")
    return PoseEstimator(SsdLite.load(), OpenVinoNetwork(path))


class PoseEstimator:
    """Finds persons on an image and 17 points of each."""

    def __init__(self, detector: SsdLite, network: OpenVinoNetwork) -> None:
        self._detector = detector
        self._network = network

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return once_each(self._detector.device, self._network.device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the skeletons of ``image``."""
        return answer_image(body, self.detect, default_threshold=DEFAULT_THRESHOLD)

    def detect(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a skeleton for each person with a score of at least ``threshold``, best first.

        A point that is not visible or lies beyond the image is ``outside``. A person without a
        visible point gives no item.
        """
        found = self._detector.persons(image, threshold)
        items = []
        for box, score in zip(found.boxes[:MAX_PERSONS], found.scores, strict=False):
            points, seen = self._pose(image, box)
            height, width = image.shape[:2]
            inside = (points >= 0).all(axis=1) & (points < [width, height]).all(axis=1)
            visible = inside & (seen >= VISIBLE)
            if visible.any():
                items.append(skeleton(points, seen, visible, float(score)))
        return items

    def _pose(self, image: NDArray[np.uint8], box: Floats) -> tuple[Floats, Floats]:
        """Return the points (17, 2) in pixels of the image and their scores (17,)."""
        around = square(box, scale=MARGIN)
        patch = crop(image, around, width=SIDE, height=SIDE)
        output = self._network(patch.astype(np.int32)[None])[0].reshape(len(POINTS), 3)
        return locate(output, around), output[:, 2]


def locate(output: Floats, around: tuple[float, float, float, float]) -> Floats:
    """Map the output's (y, x) in fractions of the patch to x, y in pixels of the image."""
    left, top, right, bottom = around
    origin, sides = np.array([left, top]), np.array([right - left, bottom - top])
    return np.asarray(origin + output[:, [1, 0]] * sides)


def skeleton(
    points: Floats, scores: Floats, visible: NDArray[np.bool_], confidence: float
) -> dict[str, Any]:
    """Return a detector's item of type skeleton."""
    elements = [
        {
            "label": name,
            "type": "points",
            "points": [round(float(value), 2) for value in point],
            "outside": int(not shown),
            "confidence": round(float(score), 4),
        }
        for name, point, score, shown in zip(POINTS, points, scores, visible, strict=True)
    ]
    return {
        "label": LABEL,
        "type": "skeleton",
        "confidence": round(confidence, 4),
        "elements": elements,
    }
