"""Frames with their annotations, as the templates of the pages show them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from django.urls import reverse

from cvat_lambda.annotations.serialize import shape_to_json, tag_to_json, track_to_json
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Task
from cvat_lambda.engine.standalone.reading import read_shapes_and_tags, read_track
from cvat_lambda.engine.standalone.scope import scope_of
from cvat_lambda.engine.standalone.tracks_on_frames import tracks_on_frames
from cvat_lambda.errors import LambdaError
from cvat_lambda.requests.store.models import ObjectKind
from cvat_lambda.requests.store.queries import provenance_of
from cvat_lambda.web import overlay

MAX_ID: Final = 2**63 - 1  # of a column in every database


def annotated_frames(task: Task, numbers: list[int]) -> list[dict[str, Any]]:
    """Return the frames with their shapes, their tags and the shapes of tracks on them.

    No image is decoded here: the browser loads the images from the API.
    """
    engine = get_engine()
    data = read_shapes_and_tags(scope_of(task.id), numbers)
    tracks = tracks_on_frames(task, numbers)
    facts = engine.frame_facts(task.id, numbers)
    frames = []
    for number in numbers:
        shapes = tuple(shape for shape in data.shapes if shape.frame == number)
        tracked = tuple(track.shape for track in tracks[number])
        tags = [tag for tag in data.tags if tag.frame == number]
        frame: dict[str, Any] = {
            "number": number,
            "shapes": shapes,
            "tracks": tracks[number],
            "tags": tags,
            "tag_names": [_label_name(task, tag.label_id) for tag in tags],
        }
        known = facts.get(number)
        if known is None:
            frame["problem"] = f"frame {number} is missing"
        else:
            size = (known.width or 0, known.height or 0)
            drawings = overlay.draw((*shapes, *tracked), task.labels, size)
            frame |= {
                "name": known.name,
                "width": size[0],
                "height": size[1],
                "drawings": drawings,
                # Called by the template: the workbench needs no SVG.
                "svg": partial(overlay.to_svg, drawings, dot=max(3, max(size) // 160)),
            }
        frames.append(frame)
    return frames


def unreadable(task: Task, number: int) -> str:
    """Return why a frame cannot be shown, "" if it can."""
    try:
        get_engine().frame(task.id, number)
    except LambdaError as exc:
        return exc.message
    return ""


def frame_json(task: Task, number: int) -> dict[str, Any]:
    """Return a frame and its annotations as JSON for the workbench.

    Shapes and tags are in the API's form. Of a track there is its shape on this frame; the page
    reads the whole track when somebody selects it. ``made_by`` names the request that added an
    annotation.
    """
    (frame,) = annotated_frames(task, [number])
    made_by = {
        kind: provenance_of(task.id, kind, [item.id for item in items])
        for kind, items in (
            (ObjectKind.SHAPE, frame["shapes"]),
            (ObjectKind.TAG, frame["tags"]),
            (ObjectKind.TRACK, [track.shape for track in frame["tracks"]]),
        )
    }
    found = [
        {**shape_to_json(shape), "kind": "shape", **_made_by(made_by[ObjectKind.SHAPE], shape.id)}
        for shape in frame["shapes"]
    ]
    found += [
        {
            **shape_to_json(track.shape),
            "kind": "track",
            "keyframe": track.is_keyframe,
            **_made_by(made_by[ObjectKind.TRACK], track.shape.id),
        }
        for track in frame["tracks"]
    ]
    found += [
        {**tag_to_json(tag), "kind": "tag", **_made_by(made_by[ObjectKind.TAG], tag.id)}
        for tag in frame["tags"]
    ]
    return {
        "number": number,
        "name": frame.get("name", ""),
        "width": frame.get("width", 0),
        "height": frame.get("height", 0),
        "problem": unreadable(task, number) or frame.get("problem", ""),
        "job": next(
            (job.id for job in task.jobs if job.type == "annotation" and number in job.frames), None
        ),
        "annotations": found,
    }


def track_json(task: Task, track_id: int) -> dict[str, Any] | None:
    """Return a track of the task with all keyframes in the API's form, None if there is none.

    Frames show no private tracks of ground-truth jobs and replicas, and neither does this.
    """
    if track_id > MAX_ID:
        return None
    track = read_track(scope_of(task.id), track_id)
    return None if track is None else track_to_json(track)


def _made_by(rows: dict[int, Any], object_id: int | None) -> dict[str, Any]:
    row = rows.get(object_id or 0)
    if row is None:
        return {"made_by": None}
    version = "" if row.version is None else f" v{row.version.version}"
    return {
        "made_by": {
            "request": row.request_id,
            "url": reverse("console:request", args=[row.request_id]),
            "version": f"{row.request.function_id}{version}",
        }
    }


def _label_name(task: Task, label_id: int) -> str:
    return next((label.name for label in task.labels if label.id == label_id), "?")
