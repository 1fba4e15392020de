"""The parameters of the entries that agents get (``ar_params``): cvat-cli 2.80 reads them."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import Any, Final

from cvat_lambda.annotations.mapping import MappedLabel, Mapping

TRACK_STEP: Final = "track_step"


def annotate_frame(
    task_id: int,
    frame: int,
    *,
    mapping: Mapping,
    threshold: float | None,
    conv_mask_to_poly: bool,
    roi: Sequence[int] | None,
) -> dict[str, Any]:
    """Return the parameters of a detector for one frame."""
    return {
        "type": "annotate_frame",
        "task": task_id,
        "frame": frame,
        "mapping": {name: _entry(mapped) for name, mapped in mapping.by_name.items()},
        "threshold": threshold,
        "conv_mask_to_poly": conv_mask_to_poly,
        **_roi(roi),
    }


def interact(
    task_id: int, frame: int, *, prompt: MappingABC[str, Any], roi: Sequence[int] | None
) -> dict[str, Any]:
    """Return the parameters of an interactor. The prompt is in coordinates of the region."""
    return {
        "type": "interact",
        "task": task_id,
        "frame": frame,
        "pos_points": prompt["pos_points"],
        "neg_points": prompt["neg_points"],
        "obj_bbox": prompt["obj_bbox"] or [],
        **_roi(roi),
    }


def track_step(
    task_id: int, frame: int, *, shapes: Sequence[Any], states: Sequence[Any]
) -> dict[str, Any]:
    """Return one step of a tracker, in the form of other trackers: see `gateway.agent_tracker`."""
    return {
        "type": TRACK_STEP,
        "task": task_id,
        "frame": frame,
        "shapes": list(shapes),
        "states": list(states),
    }


def init_tracking(task_id: int, frame: int, shapes: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters that start objects; the result has their states."""
    return {"type": "init_tracking", "task": task_id, "frame": frame, "shapes": list(shapes)}


def track(task_id: int, frame: int, states: Sequence[str]) -> dict[str, Any]:
    """Return the parameters that follow objects; the result has their shapes."""
    return {"type": "track", "task": task_id, "frame": frame, "states": list(states)}


def _roi(roi: Sequence[int] | None) -> dict[str, Any]:
    return {} if roi is None else {"roi": list(roi)}


def _entry(mapped: MappedLabel) -> dict[str, Any]:
    """Return an entry of a mapping.

    Attributes whose type or values differ are left out: the agent would refuse the whole frame.
    """
    ours = {attribute.name: attribute for attribute in mapped.function_label.attributes}
    entry: dict[str, Any] = {
        "name": mapped.task_label.name,
        "attributes": {
            name: attribute.name
            for name, attribute in mapped.attributes.items()
            if name in ours
            and ours[name].input_type == attribute.input_type
            and _same_values(ours[name].input_type, ours[name].values, attribute.values)
        },
    }
    if mapped.sublabels:
        entry["sublabels"] = {name: _entry(sub) for name, sub in mapped.sublabels.items()}
    return entry


def _same_values(input_type: str, ours: Sequence[str], theirs: Sequence[str]) -> bool:
    if input_type in ("text", "checkbox"):
        return True
    if input_type == "number":
        return list(ours) == list(theirs)
    return sorted(ours) == sorted(theirs)
