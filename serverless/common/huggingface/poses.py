"""Keypoints of persons or animals: a detector finds boxes, a pose model finds their points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from common.detection import answer_images
from common.huggingface.detection import DEFAULT_THRESHOLD, ObjectDetector, default_threshold
from common.huggingface.pretrained import Pretrained, pillow_images, run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]
    Floats = NDArray[np.floating]

LABEL = "person"  # the skeleton's label, and the class of the detector whose boxes are used
DETECTOR = "detector"  # folder of the detector inside the weights folder
MAX_BATCH = 8
MAX_PERSONS = 50  # of an image
PERSONS_AT_ONCE = 16  # bounds the memory of one pass through the network
VISIBLE = 0.3  # score below which a point is outside


class PoseEstimator(Pretrained):
    """Skeletons of the points of the pose model's configuration."""

    auto_class = transformers.AutoModelForPoseEstimation

    def __init__(
        self, model: Any, processor: Any, device: torch.device, detector: ObjectDetector | None
    ) -> None:
        super().__init__(model, processor, device)
        self._detector = detector
        self._names = [model.config.id2label[number] for number in sorted(model.config.id2label)]
        backbone = getattr(model.config, "backbone_config", None)
        self._has_experts = getattr(backbone, "num_experts", 1) > 1

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> PoseEstimator:
        """Load the pose model of a folder, and the detector of its folder ``detector``.

        Without that folder, each image is one person's.
        """
        has_detector = (folder / DETECTOR / "config.json").is_file()
        detector = ObjectDetector.load(folder / DETECTOR, device) if has_detector else None
        return cls(*cls.read(folder, device), device, detector)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the skeletons of ``image`` or of each of ``images``."""
        threshold = default_threshold(DEFAULT_THRESHOLD)
        return answer_images(body, self.detect, default_threshold=threshold, max_batch=MAX_BATCH)

    def detect(self, image: Image, threshold: float) -> Items:
        """Return a skeleton for each person with a score of at least ``threshold``, best first."""
        persons = self._persons(image, threshold)
        answer = []
        for first in range(0, len(persons), PERSONS_AT_ONCE):
            some = persons[first : first + PERSONS_AT_ONCE]
            poses = self.estimate(image, [item["points"] for item in some])
            for item, (points, scores) in zip(some, poses, strict=True):
                skeleton = self._skeleton(points, scores, item["confidence"], image)
                if skeleton is not None:
                    answer.append(skeleton)
        return answer

    def estimate(self, image: Image, boxes: Sequence[Sequence[float]]) -> list[tuple[Any, Any]]:
        """Return points (n, 2) in pixels and scores (n,) for each box x0, y0, x1, y1."""
        corners = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes]
        inputs = self._processor(pillow_images([image]), boxes=[corners], return_tensors="pt")
        more = {}
        if self._has_experts:  # the expert of the data set COCO
            more["dataset_index"] = torch.zeros(len(boxes), dtype=torch.int64, device=self._device)
        outputs = run(self._model, inputs, **more)
        [found] = self._processor.post_process_pose_estimation(outputs, boxes=[corners])
        return [(each["keypoints"].numpy(), each["scores"].numpy()) for each in found]

    def _persons(self, image: Image, threshold: float) -> Items:
        """Return the rectangles of the persons, best first."""
        if self._detector is None:
            height, width = image.shape[:2]
            return [{"points": [0.0, 0.0, float(width), float(height)], "confidence": 1.0}]
        [found] = self._detector.detect([image], threshold)
        persons = [item for item in found if item["label"].lower() == LABEL]
        return [
            item
            for item in persons[:MAX_PERSONS]
            if item["points"][2] - item["points"][0] >= 1
            and item["points"][3] - item["points"][1] >= 1
        ]

    def _skeleton(
        self, points: Floats, scores: Floats, confidence: float, image: Image
    ) -> dict[str, Any] | None:
        """Return an item of type skeleton, or None when no point is visible."""
        height, width = image.shape[:2]
        inside = (points >= 0).all(axis=1) & (points < [width, height]).all(axis=1)
        visible = inside & (scores >= VISIBLE)
        if not visible.any():
            return None
        elements = [
            {
                "label": name,
                "type": "points",
                "points": [round(float(value), 2) for value in point],
                "outside": int(not shown),
                "confidence": round(float(score), 4),
            }
            for name, point, score, shown in zip(self._names, points, scores, visible, strict=True)
        ]
        return {
            "label": LABEL,
            "type": "skeleton",
            "confidence": confidence,
            "elements": elements,
        }
