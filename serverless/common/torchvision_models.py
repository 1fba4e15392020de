"""Detection models of torchvision: boxes, masks, keypoints.

A folder that ``new torchvision`` wrote has a ``model.json`` with the settings of its network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision

from common.answers import rectangle
from common.boxes import clip
from common.detection import answer_images
from common.masks import mask_item
from common.torch_runtime import describe, half_precision, torch_device
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]

MAX_BATCH = 8
VISIBLE = 0.0  # score, a logit, from which a keypoint counts as visible


def load(folder: Path) -> Detector:
    """Load the network of a function folder."""
    settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    device = torch_device()
    network = torchvision.models.get_model(
        settings["model"],
        weights=None,
        weights_backbone=None,
        num_classes=len(settings["labels"]),
    )
    # Only tensors are read: a pickle could run code.
    state = torch.load(weights_file(settings["weights"]), map_location="cpu", weights_only=True)
    network.load_state_dict(state.get("model", state))
    return Detector(network.eval().to(device), settings, device)


class Detector:
    """A network, and the conversion of its outputs into items."""

    def __init__(self, network: Any, settings: dict[str, Any], device: torch.device) -> None:
        self._network = network
        self._labels: list[str | None] = settings["labels"]  # by class number; None: not used
        self._keypoints: list[str] = settings.get("keypoints", [])
        self._threshold: float = settings["threshold"]
        self._device = device

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the items of ``image``, or of each of ``images``."""
        return answer_images(
            body, self.detect, default_threshold=self._threshold, max_batch=MAX_BATCH
        )

    @torch.inference_mode()
    def detect(self, image: Image, threshold: float) -> Items:
        """Return the items of an image, best first."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        with half_precision(self._device):
            [found] = self._network([pixels.to(self._device)])
        arrays = {name: value.float().cpu().numpy() for name, value in found.items()}
        height, width = image.shape[:2]
        boxes = clip(arrays["boxes"].astype(np.float64), width=width, height=height)
        items = []
        for index in np.argsort(-arrays["scores"], kind="stable"):
            label = self._labels[int(arrays["labels"][index])]
            if arrays["scores"][index] < threshold or label is None:
                continue
            item = self._item(label, boxes[index], index, arrays)
            if item is not None:
                items.append(item)
        return items

    def _item(
        self, label: str, box: NDArray[np.float64], index: int, arrays: dict[str, NDArray[Any]]
    ) -> dict[str, Any] | None:
        score = float(arrays["scores"][index])
        if "masks" in arrays:
            return mask_item(label, np.ascontiguousarray(arrays["masks"][index, 0] > 0.5), score)
        if "keypoints" in arrays:
            points, scores = arrays["keypoints"][index], arrays["keypoints_scores"][index]
            elements = [
                {
                    "label": name,
                    "type": "points",
                    "points": [round(float(point[0]), 2), round(float(point[1]), 2)],
                    "outside": int(logit < VISIBLE),
                }
                for name, point, logit in zip(self._keypoints, points, scores, strict=True)
            ]
            if all(element["outside"] for element in elements):
                return None
            skeleton = {"label": label, "type": "skeleton", "elements": elements}
            return {**skeleton, "confidence": round(score, 4)}
        if box[2] <= box[0] or box[3] <= box[1]:
            return None
        return rectangle(label, box, score)
