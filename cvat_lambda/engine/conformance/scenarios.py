"""Scenarios and helpers for the conformance tests of an engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from cvat_lambda.annotations.types import (
    Attribute,
    Label,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.port import Access, Change, Engine, Frame, Removal, Written

Feature = Literal["ground_truth", "score", "video"]
UNKNOWN = 2_000_000_000  # an id that no row has

LABELS = (
    Label(
        name="car",
        attributes=(
            Attribute(name="parked", input_type="checkbox", values=("false",), default="false"),
            Attribute(
                name="age", input_type="number", values=("0", "100", "1"), default="0", mutable=True
            ),
        ),
    ),
    Label(name="sky", type="mask"),
    Label(
        name="person",
        type="skeleton",
        sublabels=(Label(name="head", type="points"), Label(name="foot", type="points")),
    ),
)


class Scenarios(Protocol):
    """Creates what a test needs in the engine under test. Users: alice, bob, charlie."""

    engine: Engine
    features: frozenset[Feature]

    def task(
        self,
        *,
        frames: int = 6,  # number of uploaded images
        segment_size: int = 0,
        overlap: int = 0,
        start_frame: int = 0,
        step: int = 1,
        deleted: Sequence[int] = (),  # relative to the task
        video: bool = False,
    ) -> int:
        """Create a task of alice with `LABELS`; return its id."""

    def project(self, tasks: int) -> tuple[int, list[int]]:
        """Create a project of alice with tasks; return its id and the ids of the tasks."""

    def picture_of(self, frame: Frame) -> int:
        """Return the index of the uploaded image that a frame shows. All images differ."""

    def ground_truth_job(self, task_id: int, frames: Sequence[int]) -> int:
        """Create a ground-truth job; return its id."""

    def update(self, task_id: int, data: LabeledData, *, job_id: int | None) -> None:
        """Update annotations by their ids, as the engine does for a person who edits them."""

    def assign_job(self, job_id: int, name: str) -> None:
        """Assign a job to a user."""

    def access(self, name: str) -> Access:
        """Return the access rights of a user."""


def unnamed(data: LabeledData) -> LabeledData:
    """Return the data without ids, to compare what was read with what was written."""
    return LabeledData(
        tags=tuple(replace(tag, id=None) for tag in data.tags),
        shapes=tuple(unnamed_shape(shape) for shape in data.shapes),
        tracks=tuple(unnamed_track(track) for track in data.tracks),
    )


def unnamed_shape(shape: Shape) -> Shape:
    elements = tuple(unnamed_shape(element) for element in shape.elements)
    return replace(shape, id=None, elements=elements)


def unnamed_track(track: Track) -> Track:
    return replace(
        track,
        id=None,
        shapes=tuple(replace(shape, id=None) for shape in track.shapes),
        elements=tuple(unnamed_track(element) for element in track.elements),
    )


def id_in(row: Any) -> int:
    """Return the id of an item of a set or of a subquery."""
    return int(next(iter(row.values()))) if isinstance(row, dict) else int(row)


def flat(groups: Sequence[tuple[int, ...]]) -> list[int]:
    return [pk for group in groups for pk in group]


class Bench:
    """A task with helpers that write to it and read from it."""

    def __init__(self, scenarios: Scenarios, **task: Any) -> None:
        self.engine = scenarios.engine
        self.task_id = scenarios.task(**task)
        self.labels = {label.name: label for label in self.engine.task(self.task_id).labels}
        self.jobs = self.engine.task(self.task_id).jobs

    def label_id(self, name: str) -> int:
        label_id = self.labels[name].id
        assert label_id is not None
        return label_id

    def box(self, frame: int, *, left: float = 1.0, **more: Any) -> Shape:
        """Return a rectangle on a frame."""
        points = (left, 2.0, left + 10.5, 20.25)
        return Shape(
            type="rectangle", frame=frame, label_id=self.label_id("car"), points=points, **more
        )

    def tag(self, frame: int, **more: Any) -> Tag:
        return Tag(frame=frame, label_id=self.label_id("car"), **more)

    def track(self, *keys: tuple[int, bool], **more: Any) -> Track:
        """Return a track with keyframes ``(frame, outside)``."""
        shapes = tuple(
            TrackedShape(
                type="rectangle", frame=frame, points=(0.0, 0.0, 5.0, 5.0), outside=outside
            )
            for frame, outside in keys
        )
        label_id = self.label_id("car")
        return Track(frame=keys[0][0], label_id=label_id, shapes=shapes, **more)

    def write(
        self,
        *,
        shapes: Sequence[Shape] = (),
        tags: Sequence[Tag] = (),
        tracks: Sequence[Track] = (),
        frames: Sequence[int] = (),
        remove: Removal | None = None,
        job_id: int | None = None,
    ) -> Written:
        add = LabeledData(shapes=tuple(shapes), tags=tuple(tags), tracks=tuple(tracks))
        change = Change(
            task_id=self.task_id,
            job_id=job_id,
            frames=tuple(frames) or tuple(sorted(_frames(add))),
            remove=remove or Removal(),
            add=add,
        )
        with self.engine.atomic():
            return self.engine.apply(change)

    def read(
        self, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> LabeledData:
        return self.engine.annotations(self.task_id, job_id=job_id, frames=frames)

    def places(self, **scope: Any) -> list[tuple[int, float]]:
        """Return the frame and the left edge of each shape, in order."""
        return sorted((shape.frame, shape.points[0]) for shape in self.read(**scope).shapes)


def _frames(data: LabeledData) -> Iterator[int]:
    yield from {shape.frame for shape in data.shapes} | {tag.frame for tag in data.tags}


def listed_ids(found: Any) -> set[int]:
    """Return the ids of a set of ids or of a subquery."""
    return set(found.values_list("pk", flat=True) if hasattr(found, "values_list") else found)
