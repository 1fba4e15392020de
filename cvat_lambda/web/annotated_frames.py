"""Frames with their annotations, as the templates of the pages show them."""

from __future__ import annotations

from typing import Any

from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import LabeledData, Track
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Task
from cvat_lambda.errors import LambdaError
from cvat_lambda.requests.store.models import ObjectKind
from cvat_lambda.requests.store.queries import provenance_of
from cvat_lambda.web import overlay


def annotated_frames(task: Task, numbers: list[int]) -> list[dict[str, Any]]:
    """Return the frames with their shapes, their tags and the shapes of tracks on them.

    No image is decoded here: the browser loads the images from the API.
    """
    engine = get_engine()
    data = engine.annotations(task.id, frames=numbers) if numbers else LabeledData()
    tracks = _tracks(task, numbers)
    facts = engine.frame_facts(task.id, numbers)
    frames = []
    for number in numbers:
        shapes = tuple(shape for shape in data.shapes if shape.frame == number)
        tracked = shapes_on_frame(number, tracks[number].values())
        tags = [tag for tag in data.tags if tag.frame == number]
        frame: dict[str, Any] = {
            "number": number,
            "shapes": shapes,
            "tracked": tracked,
            "tags": tags,
            "tag_names": [_label_name(task, tag.label_id) for tag in tags],
        }
        known = facts.get(number)
        if known is None:
            frame["problem"] = f"frame {number} is missing"
        else:
            size = (known.width or 0, known.height or 0)
            frame |= {
                "name": known.name,
                "width": size[0],
                "height": size[1],
                "drawings": overlay.draw((*shapes, *tracked), task.labels, size),
                "font": max(12, max(size) // 40),
                "dot": max(3, max(size) // 160),
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


def annotation_rows(task: Task, frame: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations of one of `annotated_frames` as table rows, with their requests."""
    listed = [(ObjectKind.SHAPE, shape.type, shape) for shape in frame["shapes"]]
    listed += [(ObjectKind.TRACK, f"{shape.type}, track", shape) for shape in frame["tracked"]]
    listed += [(ObjectKind.TAG, "tag", tag) for tag in frame["tags"]]
    made_by = {
        kind: provenance_of(task.id, kind, [item.id for of, _, item in listed if of == kind])
        for kind in ObjectKind
    }
    return [
        {
            "label": _label_name(task, item.label_id),
            "type": type_name,
            "score": item.score,
            "source": item.source,
            "by": made_by[kind].get(item.id),
        }
        for kind, type_name, item in listed
    ]


def _tracks(task: Task, numbers: list[int]) -> dict[int, dict[int | None, Track]]:
    """Return for each frame the tracks, by id, of the jobs that show the frame.

    A track may be visible far from its key frames, but only in the frames of its own job.
    """
    by_frame: dict[int, dict[int | None, Track]] = {number: {} for number in numbers}
    for job in task.jobs:
        shown = [number for number in numbers if number in job.frames]
        if shown and job.type == "annotation":
            tracks = {track.id: track for track in get_engine().tracks(task.id, job_id=job.id)}
            for number in shown:
                by_frame[number].update(tracks)
    return by_frame


def _label_name(task: Task, label_id: int) -> str:
    return next((label.name for label in task.labels if label.id == label_id), "?")
