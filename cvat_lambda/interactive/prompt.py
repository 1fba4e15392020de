"""The points and the box that an interactor gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cvat_lambda.interactive.image import View
from cvat_lambda.interactive.params import CallParams


def prompt(params: CallParams, view: View) -> dict[str, Any]:
    """Return the caller's points and box in coordinates of the view."""

    def to_view(points: Iterable[Sequence[float]]) -> list[list[float]]:
        return [view.placement.to_image(point) for point in points]

    fields: dict[str, Any] = {
        "pos_points": to_view(params.pos_points or ()),
        "neg_points": to_view(params.neg_points or ()),
        # Functions written for CVAT read this key without checking that it exists.
        "obj_bbox": None if params.obj_bbox is None else to_view(params.obj_bbox),
    }
    if params.threshold is not None:
        fields["threshold"] = params.threshold
    return fields
