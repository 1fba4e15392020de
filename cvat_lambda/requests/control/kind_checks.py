"""Check the options of a request against the kind of its function."""

from __future__ import annotations

from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.requests.store.params import Params
from cvat_lambda.requests.store.tracking import Tracking

NOT_IN_BACKGROUND = {
    Kind.INTERACTOR: "an interactor answers a person's clicks",
}


def check_kind(spec: FunctionSpec, params: Params, tracking: Tracking | None) -> None:
    """Refuse options that functions of this kind do not have. Raise InvalidRequest."""
    why = NOT_IN_BACKGROUND.get(spec.kind)
    if why is not None:
        raise InvalidRequest(
            f"function {spec.id!r} cannot run in the background: {why}. Call it instead"
        )
    if spec.kind is not Kind.TRACKER and tracking is not None:
        raise InvalidRequest(f"function {spec.id!r} is not a tracker: remove shapes and start")
    if spec.kind is not Kind.DETECTOR and params.output != "shapes":
        raise InvalidRequest(f"function {spec.id!r} is not a detector: remove output")
    if spec.kind is not Kind.DETECTOR and params.prompts:
        raise InvalidRequest(
            f"function {spec.id!r} is not a detector: remove text, exemplars and labels"
        )
    if params.replace_labels is not None and params.replace == "none":
        raise InvalidRequest("replace_labels needs a replacement: give replace, too")
    if spec.kind is not Kind.DETECTOR and params.roi is not None:
        raise InvalidRequest(f"function {spec.id!r} is not a detector: remove roi")
    if params.link is not None and spec.kind is not Kind.TRACKER and params.output != "tracks":
        raise InvalidRequest(f"function {spec.id!r} makes no tracks: remove link")
    if spec.kind is Kind.TRACKER:
        _check_tracker(spec, params, tracking)
    if spec.kind is Kind.REID:
        if params.replace != "none":
            raise InvalidRequest(
                f"function {spec.id!r} joins the rectangles that are there: "
                "it cannot replace annotations"
            )
        if params.only_unannotated:
            raise InvalidRequest(
                f"function {spec.id!r} works on annotated frames: remove only_unannotated"
            )


def _check_tracker(spec: FunctionSpec, params: Params, tracking: Tracking | None) -> None:
    if tracking is None:
        raise InvalidRequest(
            f"function {spec.id!r} is a tracker: name what to track, by shapes or by start"
        )
    given = {
        "mapping": params.mapping,
        "threshold": params.threshold,
        "max_distance": params.max_distance,
        "only_unannotated": params.only_unannotated or None,
        "conv_mask_to_poly": params.conv_mask_to_poly or None,
        "replace": None if params.replace == "none" else params.replace,
    }
    unusable = [name for name, value in given.items() if value is not None]
    if unusable:
        raise InvalidRequest(f"function {spec.id!r} is a tracker: remove {', '.join(unusable)}")
