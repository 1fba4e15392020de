"""What a person points at for an interactor."""

from __future__ import annotations

from typing import Any

from cvat_lambda.interactive.image import View
from cvat_lambda.interactive.params import CallParams


def prompt(params: CallParams, view: View) -> dict[str, Any]:
    """What the person pointed at, in coordinates of the view."""
    fields: dict[str, Any] = {
        "pos_points": view.into(params.pos_points or ()),
        "neg_points": view.into(params.neg_points or ()),
        # Functions written for CVAT read the key without asking whether it is there.
        "obj_bbox": None if params.obj_bbox is None else view.into(params.obj_bbox),
    }
    if params.threshold is not None:
        fields["threshold"] = params.threshold
    return fields
