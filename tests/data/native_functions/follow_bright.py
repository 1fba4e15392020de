"""A tracking function of CVAT's SDK: a shape moves with the centre of what is bright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image

spec = cvataa.TrackingFunctionSpec(supported_shape_types=["rectangle", "polygon"])


@dataclass
class State:
    """What `track` needs; a class of the function's own, which is no JSON."""

    shape: cvataa.TrackableShape
    centre: tuple[float, float]
    steps: int = 0


def preprocess_image(context: cvataa.TrackingFunctionContext, image: PIL.Image.Image) -> Any:
    return np.asarray(image.convert("L")) >= 128


def init_tracking_state(
    context: cvataa.TrackingFunctionShapeContext, pp_image: Any, shape: cvataa.TrackableShape
) -> State:
    assert context.original_shape_type == shape.type
    return State(shape=shape, centre=_centre(pp_image))


def track(
    context: cvataa.TrackingFunctionShapeContext, pp_image: Any, state: State
) -> cvataa.TrackableShape | None:
    if not pp_image.any():
        return None
    x, y = _centre(pp_image)
    dx, dy = x - state.centre[0], y - state.centre[1]
    state.centre = (x, y)
    state.steps += 1
    points = [value + (dx, dy)[index % 2] for index, value in enumerate(state.shape.points)]
    state.shape = cvataa.TrackableShape(type=state.shape.type, points=points)
    return state.shape


def _centre(bright: Any) -> tuple[float, float]:
    rows, columns = np.nonzero(bright)
    return float(columns.mean()), float(rows.mean())
