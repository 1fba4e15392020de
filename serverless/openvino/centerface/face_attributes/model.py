"""Faces with age, gender and emotion: CenterFace, two SSR-Nets and a mini-Xception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from centerface import CenterFace
from common.answers import rectangle
from common.detection import answer_image
from common.devices import OpenVinoNetwork, once_each
from common.images import crop, grey
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

LABEL = "face"
DEFAULT_THRESHOLD = 0.5
AGE_WEIGHTS = "ssrnet_age_ir.xml"
GENDER_WEIGHTS = "ssrnet_gender_ir.xml"
EMOTION_WEIGHTS = "emotion_ir.xml"
SIDE = 64  # of the three networks' input, pixels
MARGIN = 0.2  # around the face for age and gender, as a share of its width
MAX_AGE = 150
EMOTIONS = ("neutral", "happy", "sad", "surprise", "anger")
# The network has seven outputs: angry, disgust, fear, happy, sad, surprise, neutral. Disgust and
# fear become the nearest of the five emotions that CVAT's own face function has.
EMOTION_OF_OUTPUT = ("anger", "anger", "surprise", "happy", "sad", "surprise", "neutral")


def load() -> FaceDescriber:
    """Load the weights of this worker."""
    return FaceDescriber(
        CenterFace.load(),
        OpenVinoNetwork(weights_file(AGE_WEIGHTS, env="AGE_MODEL_PATH")),
        OpenVinoNetwork(weights_file(GENDER_WEIGHTS, env="GENDER_MODEL_PATH")),
        OpenVinoNetwork(weights_file(EMOTION_WEIGHTS, env="EMOTIONS_MODEL_PATH")),
    )


class FaceDescriber:
    """Finds faces on an image and estimates age, gender and emotion of each."""

    def __init__(
        self,
        detector: CenterFace,
        age: OpenVinoNetwork,
        gender: OpenVinoNetwork,
        emotion: OpenVinoNetwork,
    ) -> None:
        self._detector = detector
        self._age = age
        self._gender = gender
        self._emotion = emotion

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return once_each(
            *(each.device for each in (self._detector, self._age, self._gender, self._emotion))
        )

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the faces of ``image`` with their attributes."""
        return answer_image(body, self.detect, default_threshold=DEFAULT_THRESHOLD)

    def detect(self, image: NDArray[np.uint8], threshold: float) -> list[dict[str, Any]]:
        """Return a rectangle with attributes for each face, best first."""
        boxes, scores = self._detector.faces(image, threshold)
        if not len(boxes):
            return []
        # All faces go through each network as one batch.
        wide = np.stack([face_patch(image, box, margin=MARGIN) for box in boxes])
        tight = np.stack([grey(face_patch(image, box, margin=0.0)) for box in boxes])
        ages = self._age(wide.astype(np.float32))[0][:, 0]
        men = self._gender(wide[..., ::-1].astype(np.float32))[0][:, 0]  # blue first
        emotions = self._emotion((tight[..., None].astype(np.float32) / 255 - 0.5) * 2)[0]
        return [
            {**rectangle(LABEL, box, score), "attributes": attributes(age, man, emotion)}
            for box, score, age, man, emotion in zip(
                boxes, scores, ages, men, emotions, strict=True
            )
        ]


def face_patch(image: NDArray[np.uint8], box: Floats, *, margin: float) -> NDArray[np.uint8]:
    """Cut a face with its margin, 64 x 64; the margin ends at the image's border."""
    height, width = image.shape[:2]
    room = float(box[2] - box[0]) * margin
    left, top = max(0.0, float(box[0]) - room), max(0.0, float(box[1]) - room)
    right, bottom = min(width, float(box[2]) + room), min(height, float(box[3]) + room)
    return crop(image, (left, top, right, bottom), width=SIDE, height=SIDE)


def attributes(age: float, man: float, emotion: Floats) -> list[dict[str, str]]:
    """Return age in years, gender (female below 0.5) and the emotion with the highest score."""
    years = int(np.clip(round(float(age)), 0, MAX_AGE))
    return [
        {"name": "age", "value": str(years)},
        {"name": "gender", "value": "male" if man >= 0.5 else "female"},
        {"name": "emotion", "value": strongest(emotion)},
    ]


def strongest(scores: Floats) -> str:
    """Return the emotion, of five, with the highest sum of the network's seven scores."""
    totals = dict.fromkeys(EMOTIONS, 0.0)
    for emotion, score in zip(EMOTION_OF_OUTPUT, scores, strict=True):
        totals[emotion] += float(score)
    return max(totals, key=lambda emotion: totals[emotion])
