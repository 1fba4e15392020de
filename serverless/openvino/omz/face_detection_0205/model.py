"""Faces with age, gender and emotion: a detector and two networks for its crops.

All three networks are of the Open Model Zoo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from common.answers import rectangle
from common.boxes import clip
from common.detection import answer_image
from common.devices import OpenVinoNetwork, once_each
from common.images import resize
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

DEFAULT_THRESHOLD = 0.5
LABEL = "face"
DETECTOR_SIDE = 416  # pixels of each network's square input
AGE_GENDER_SIDE = 62
EMOTION_SIDE = 64
GENDERS = ("female", "male")  # in the networks' order
EMOTIONS = ("neutral", "happy", "sad", "surprise", "anger")
OLDEST = 150  # years, the end of the attribute's range
# The output of the age has two names in the releases of the network.
_AGE_OUTPUTS = ("fc3_a", "age_conv3")


def prepare(image: Image, side: int) -> NDArray[np.float32]:
    """Resize an RGB image to a square and turn it to BGR: 1 x 3 x side x side, 0 to 255."""
    bgr = resize(image, width=side, height=side)[..., ::-1]
    return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None], dtype=np.float32)


def place_boxes(
    rows: NDArray[np.float32], *, width: int, height: int, threshold: float
) -> list[tuple[NDArray[np.float64], float]]:
    """Turn the detector's rows (x0, y0, x1, y1 in its square, score) into boxes in the image."""
    kept = rows[rows[:, 4] >= threshold]
    scale = np.array([width, height, width, height], dtype=np.float64) / DETECTOR_SIDE
    boxes = clip(kept[:, :4] * scale, width=width, height=height)
    # The network fills its fixed number of rows with boxes narrower than a pixel.
    return [
        (box, float(row[4]))
        for box, row in zip(boxes, kept, strict=True)
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1
    ]


def cut(image: Image, box: NDArray[np.floating]) -> Image:
    """Return the pixels of a box; the box is at least one pixel wide and high."""
    left, top = (int(value) for value in np.floor(box[:2]))
    right, bottom = (int(value) for value in np.ceil(box[2:]))
    return image[top:bottom, left:right]


def read_age(outputs: Mapping[str, NDArray[Any]]) -> int:
    """Return the age in whole years; the network gives hundredths."""
    value = next(outputs[name] for name in _AGE_OUTPUTS if name in outputs)
    return int(np.clip(round(float(value.ravel()[0]) * 100), 0, OLDEST))


def load() -> FaceDetector:
    """Load the networks (environment: DETECTOR_, AGE_GENDER_ and EMOTIONS_MODEL_PATH)."""
    detector, age_gender, emotion = (
        OpenVinoNetwork(weights_file(f"{name}.xml", env=f"{variable}_MODEL_PATH"))
        for name, variable in (
            ("face-detection-0205", "DETECTOR"),
            ("age-gender-recognition-retail-0013", "AGE_GENDER"),
            ("emotions-recognition-retail-0003", "EMOTIONS"),
        )
    )
    return FaceDetector(detector, age_gender, emotion)


class FaceDetector:
    """The three networks."""

    def __init__(
        self, detector: OpenVinoNetwork, age_gender: OpenVinoNetwork, emotion: OpenVinoNetwork
    ) -> None:
        self._detector = detector
        self._age_gender = age_gender
        self._emotion = emotion

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return once_each(self._detector.device, self._age_gender.device, self._emotion.device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the faces of ``image``."""
        return answer_image(body, self.detect, default_threshold=DEFAULT_THRESHOLD)

    def detect(self, image: Image, threshold: float) -> list[dict[str, Any]]:
        """Return the faces with their attributes."""
        height, width = image.shape[:2]
        rows = self._detector.run_named(image=prepare(image, DETECTOR_SIDE))["boxes"]
        placed = place_boxes(rows, width=width, height=height, threshold=threshold)
        return [
            {**rectangle(LABEL, box, score), "attributes": self._attributes(cut(image, box))}
            for box, score in placed
        ]

    def _attributes(self, face: Image) -> list[dict[str, str]]:
        age_gender = self._age_gender.run_named(data=prepare(face, AGE_GENDER_SIDE))
        emotion = self._emotion.run_named(data=prepare(face, EMOTION_SIDE))["prob_emotion"]
        return [
            {"name": "age", "value": str(read_age(age_gender))},
            {"name": "gender", "value": GENDERS[int(age_gender["prob"].argmax())]},
            {"name": "emotion", "value": EMOTIONS[int(emotion.argmax())]},
        ]
