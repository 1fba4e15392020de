"""Functions for `cvat_sdk.auto_annotation` that need numpy and Pillow only.

The environment variable ``NATIVE_KIND`` selects one. Agents of `test_agents.py` run this module.
"""

from __future__ import annotations

import os
import time
from typing import Any

import cvat_sdk.auto_annotation as cvataa
from PIL import Image


class Detector:
    """Finds one car, whose left side is the red value of the picture's first pixel."""

    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        time.sleep(float(os.environ.get("NATIVE_SLEEP_S", "0")))
        red = image.convert("RGB").getpixel((0, 0))[0]  # type: ignore[index]
        return [cvataa.rectangle(0, [red % 32, 1, 40, 30])]


class Interactor:
    """Answers a mask of 3 x 2 pixels whose upper left one is the first positive point."""

    spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0, min_bounding_boxes=0)

    def detect(self, context: Any, image: Image.Image, prompts: Any) -> list[Any]:
        x, y = map(int, prompts.pos_points[0])
        points: Any = [0, 6, x, y, x + 2, y + 1]
        return [cvataa.InteractionResultShape(type="mask", points=points)]


class Tracker:
    """Moves an object by one pixel to the right in each step.

    It hangs after ``NATIVE_STEPS`` steps, so that a test can kill it in the middle of a track.
    """

    spec = cvataa.TrackingFunctionSpec(supported_shape_types=["rectangle"])

    def __init__(self) -> None:
        self.steps_left = int(os.environ.get("NATIVE_STEPS", "1000"))

    def preprocess_image(self, context: Any, image: Image.Image) -> Image.Image:
        return image

    def init_tracking_state(self, context: Any, image: Image.Image, shape: Any) -> dict[str, Any]:
        return {"points": list(shape.points)}

    def track(self, context: Any, image: Image.Image, state: dict[str, Any]) -> Any:
        self.steps_left -= 1
        if self.steps_left < 0:
            time.sleep(3600)
        x0, y0, x1, y1 = state["points"]
        state["points"] = [x0 + 1, y0, x1 + 1, y1]
        return cvataa.TrackableShape(type="rectangle", points=state["points"])


def create() -> Any:
    """Return the function that ``NATIVE_KIND`` names."""
    kinds: dict[str, Any] = {"detector": Detector, "interactor": Interactor, "tracker": Tracker}
    return kinds[os.environ["NATIVE_KIND"]]()
