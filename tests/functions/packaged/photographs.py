"""The sample photographs, and helpers that encode them and compare masks and boxes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[3]
PHOTOGRAPHS = REPOSITORY / "cvat_lambda" / "server" / "photographs"
MASKS = REPOSITORY / "tests" / "data" / "masks"
NAMES = ("astronaut", "camera", "chelsea", "coffee")


def photograph(name: str) -> np.ndarray[Any, Any]:
    """Return a sample photograph as RGB."""
    return np.array(Image.open(PHOTOGRAPHS / f"{name}.png").convert("RGB"))


def encoded(name: str) -> str:
    """Return the file of a sample photograph in base64."""
    return base64.b64encode((PHOTOGRAPHS / f"{name}.png").read_bytes()).decode()


def encode(image: np.ndarray[Any, Any]) -> str:
    """Return an array as a PNG file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def hand_mask(name: str) -> np.ndarray[Any, Any]:
    """Return a mask that was drawn by hand."""
    return np.array(Image.open(MASKS / f"{name}.png").convert("1"))


def cropped(answer: dict[str, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the full mask (height, width) of an interactor's answer."""
    left, top, right, bottom = answer["bounds"]
    mask = np.zeros(size, dtype=bool)
    mask[top : bottom + 1, left : right + 1] = np.array(answer["mask"]) > 0
    return mask


def flat(item: dict[str, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the full mask (height, width) of a detector's item of type mask."""
    left, top, right, bottom = item["mask"][-4:]
    mask = np.zeros(size, dtype=bool)
    bitmap = np.reshape(item["mask"][:-4], (bottom - top + 1, right - left + 1))
    mask[top : bottom + 1, left : right + 1] = bitmap
    return mask


def mask_iou(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Return the intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum())


def box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the intersection over union of two boxes x0, y0, x1, y1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)
