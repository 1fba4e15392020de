"""What every engine adapter must do, as tests: subclass `EngineConformance` and build scenarios.

::

    class TestMyEngine(EngineConformance):
        @pytest.fixture
        def scenarios(self) -> Scenarios:
            return MyScenarios()

For test suites only; it needs pytest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import pytest

from cvat_lambda.annotations.types import (
    Attribute,
    AttributeValue,
    Label,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.port import Access, AnnotationKind, Change, Engine, Frame, Removal, Written
from cvat_lambda.errors import (
    FrameOutOfScope,
    InvalidRequest,
    JobNotFound,
    NotFound,
    PermissionDenied,
    TaskNotFound,
)

Feature = Literal["ground_truth", "score", "video"]
UNKNOWN = 2_000_000_000  # an id that nothing has

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
    """Makes what a test needs in the engine under test. People are alice, bob and charlie."""

    engine: Engine
    features: frozenset[Feature]

    def task(
        self,
        *,
        frames: int = 6,  # in the upload
        segment_size: int = 0,
        overlap: int = 0,
        start_frame: int = 0,
        step: int = 1,
        deleted: Sequence[int] = (),  # relative numbers
        video: bool = False,
    ) -> int:
        """The id of a new task of alice, labelled with `LABELS`."""

    def project(self, tasks: int) -> tuple[int, list[int]]:
        """A new project of alice with so many tasks: its id and theirs."""

    def picture_of(self, frame: Frame) -> int:
        """Which picture of the upload a frame shows: they differ in content."""

    def ground_truth_job(self, task_id: int, frames: Sequence[int]) -> int:
        """The id of a new ground-truth job."""

    def assign_job(self, job_id: int, name: str) -> None:
        """Assign a job to a person."""

    def access(self, name: str) -> Access:
        """What a person may do."""


def _unnamed(data: LabeledData) -> LabeledData:
    """The same without ids, to compare what was read with what was written."""
    return LabeledData(
        tags=tuple(replace(tag, id=None) for tag in data.tags),
        shapes=tuple(_unnamed_shape(shape) for shape in data.shapes),
        tracks=tuple(_unnamed_track(track) for track in data.tracks),
    )


def _unnamed_shape(shape: Shape) -> Shape:
    elements = tuple(_unnamed_shape(element) for element in shape.elements)
    return replace(shape, id=None, elements=elements)


def _unnamed_track(track: Track) -> Track:
    return replace(
        track,
        id=None,
        shapes=tuple(replace(shape, id=None) for shape in track.shapes),
        elements=tuple(_unnamed_track(element) for element in track.elements),
    )


def _id(row: Any) -> int:
    """An id out of a set, or out of a subquery's rows."""
    return int(next(iter(row.values()))) if isinstance(row, dict) else int(row)


def _ids(groups: Sequence[tuple[int, ...]]) -> list[int]:
    return [pk for group in groups for pk in group]


class Bench:
    """A task and short ways to write to it."""

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
        """A rectangle on a frame."""
        points = (left, 2.0, left + 10.5, 20.25)
        return Shape(
            type="rectangle", frame=frame, label_id=self.label_id("car"), points=points, **more
        )

    def tag(self, frame: int, **more: Any) -> Tag:
        return Tag(frame=frame, label_id=self.label_id("car"), **more)

    def track(self, *keys: tuple[int, bool], **more: Any) -> Track:
        """A track with key frames ``(frame, outside)``."""
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
        """Frame and left edge of each shape, in order."""
        return sorted((shape.frame, shape.points[0]) for shape in self.read(**scope).shapes)


def _frames(data: LabeledData) -> Iterator[int]:
    yield from {shape.frame for shape in data.shapes} | {tag.frame for tag in data.tags}


def _listed(found: Any) -> set[int]:
    """The ids of what an engine gives for ``task_id__in``: ids, or a subquery."""
    return set(found.values_list("pk", flat=True) if hasattr(found, "values_list") else found)


class EngineConformance:
    """The port's promises. A subclass gives the fixture ``scenarios``."""

    # Facts

    def test_task_says_what_it_is(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, deleted=[1, 4])
        task = scenarios.engine.task(bench.task_id)
        assert (task.id, task.size, task.dimension) == (bench.task_id, 6, "2d")
        assert task.deleted_frames == {1, 4}
        assert task.placeholder_frames == frozenset()

    def test_labels_come_as_a_tree_with_ids(self, scenarios: Scenarios) -> None:
        car, sky, person = scenarios.engine.task(scenarios.task()).labels
        assert [(label.name, label.type) for label in (car, sky, person)] == [
            ("car", "any"),
            ("sky", "mask"),
            ("person", "skeleton"),
        ]
        assert [
            (item.name, item.input_type, item.values, item.mutable) for item in car.attributes
        ] == [
            ("parked", "checkbox", ("false",), False),
            ("age", "number", ("0", "100", "1"), True),
        ]
        assert [label.name for label in person.sublabels] == ["head", "foot"]
        assert all(item.id is not None for item in car.attributes)
        ids = {label.id for label in (car, sky, person, *person.sublabels)}
        assert len(ids - {None}) == 5

    def test_jobs_divide_the_frames_and_overlap(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3, overlap=1)
        frames = [list(job.frames) for job in bench.jobs]
        assert frames == [[0, 1, 2], [2, 3, 4], [4, 5]]
        for job in bench.jobs:
            assert scenarios.engine.job(job.id) == job
            assert (job.task_id, job.type) == (bench.task_id, "annotation")

    def test_several_tasks_and_jobs_are_what_each_is_alone(self, scenarios: Scenarios) -> None:
        _, tasks = scenarios.project(2)
        alone = scenarios.task(frames=6, segment_size=4, deleted=[2])
        other = scenarios.task()
        wanted = [*tasks, alone, other]
        engine = scenarios.engine
        found = engine.tasks([*wanted, UNKNOWN])
        assert found == {task_id: engine.task(task_id) for task_id in wanted}
        jobs = [job for task in found.values() for job in task.jobs]
        assert engine.jobs([*(job.id for job in jobs), UNKNOWN]) == {job.id: job for job in jobs}
        assert set(wanted) <= {_id(row) for row in engine.task_ids()}
        assert (engine.tasks([]), engine.jobs([])) == ({}, {})

    def test_project_lists_its_tasks(self, scenarios: Scenarios) -> None:
        project_id, tasks = scenarios.project(2)
        assert sorted(scenarios.engine.project_task_ids(project_id)) == sorted(tasks)
        assert scenarios.engine.task(tasks[0]).project_id == project_id
        assert [label.name for label in scenarios.engine.task(tasks[0]).labels] == [
            label.name for label in LABELS
        ]

    def test_what_is_not_there_is_not_found(self, scenarios: Scenarios) -> None:
        with pytest.raises(TaskNotFound):
            scenarios.engine.task(UNKNOWN)
        with pytest.raises(JobNotFound):
            scenarios.engine.job(UNKNOWN)
        with pytest.raises(NotFound):
            scenarios.engine.project_task_ids(UNKNOWN)

    # Frames

    @pytest.mark.parametrize("video", [False, True], ids=["images", "video"])
    @pytest.mark.parametrize("wanted", [[0, 1, 2, 3, 4, 5], [1, 4], [5]], ids=str)
    def test_frames_come_in_order(
        self, scenarios: Scenarios, wanted: list[int], video: bool
    ) -> None:
        if video and "video" not in scenarios.features:
            pytest.skip("no videos in this engine")
        task_id = scenarios.task(frames=6, video=video)
        frames = [
            frame for frame in scenarios.engine.frames(task_id, wanted) if isinstance(frame, Frame)
        ]
        assert [frame.number for frame in frames] == wanted
        assert [scenarios.picture_of(frame) for frame in frames] == wanted
        for frame in frames:
            assert frame.mime.startswith("image/")
            single = scenarios.engine.frame(task_id, frame.number)
            assert (single.number, single.mime) == (frame.number, frame.mime)
            assert scenarios.picture_of(single) == frame.number

    def test_frame_numbers_are_relative(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=8, start_frame=1, step=3)
        assert scenarios.engine.task(task_id).size == 3
        shown = [
            scenarios.picture_of(frame)
            for frame in scenarios.engine.frames(task_id, range(3))
            if isinstance(frame, Frame)
        ]
        assert shown == [1, 4, 7]
        assert scenarios.picture_of(scenarios.engine.frame(task_id, 2)) == 7

    def test_deleted_frames_can_be_read(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=4, deleted=[1])
        assert scenarios.picture_of(scenarios.engine.frame(task_id, 1)) == 1
        assert scenarios.picture_of(scenarios.engine.frame(task_id, 2)) == 2

    def test_frame_outside_the_task_is_out_of_scope(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=4)
        for number in (4, UNKNOWN):
            with pytest.raises(FrameOutOfScope):
                scenarios.engine.frame(task_id, number)

    def test_frame_keys_are_stable_and_differ(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=4)
        keys = [scenarios.engine.frame_key(task_id, number) for number in range(4)]
        assert keys == [scenarios.engine.frame_key(task_id, number) for number in range(4)]
        assert len(set(keys)) == 4

    def test_stream_can_be_closed_early(self, scenarios: Scenarios) -> None:
        frames = scenarios.engine.frames(scenarios.task(frames=6), range(6))
        assert next(frames).number == 0
        frames.close()  # type: ignore[attr-defined]
        assert next(frames, None) is None

    # Writing

    @pytest.mark.parametrize(
        ("kind", "points"),
        [
            ("rectangle", (1.5, 2.25, 30.125, 40.0)),
            ("polygon", (0.0, 0.0, 10.0, 0.0, 10.0, 10.5)),
            ("polyline", (0.0, 0.0, 10.0, 3.5)),
            ("points", (4.0, 5.0)),
            ("ellipse", (20.0, 20.0, 30.0, 10.0)),
            ("cuboid", tuple(float(value) for value in range(16))),
            ("mask", (1.0, 2.0, 3.0, 2.0, 1.0, 3.0, 4.0, 4.0)),
        ],
    )
    def test_shape_comes_back_as_it_was_written(
        self, scenarios: Scenarios, kind: Any, points: tuple[float, ...]
    ) -> None:
        bench = Bench(scenarios)
        shape = Shape(
            type=kind,
            frame=2,
            label_id=bench.label_id("sky" if kind == "mask" else "car"),
            points=points,
            rotation=15.5 if kind == "rectangle" else 0.0,
            occluded=True,
            z_order=3,
            group=2,
            source="auto",
        )
        ((shape_id,),) = bench.write(shapes=[shape]).shape_ids
        (found,) = bench.read().shapes
        assert found.id == shape_id
        assert _unnamed_shape(found) == shape

    def test_skeleton_comes_back_with_its_elements(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        person = bench.labels["person"]
        elements = tuple(
            Shape(
                type="points",
                frame=1,
                label_id=sublabel.id or 0,
                points=(place, place + 1.0),
                outside=place > 5,
            )
            for place, sublabel in zip((3.0, 7.0), person.sublabels, strict=True)
        )
        skeleton = Shape(type="skeleton", frame=1, label_id=person.id or 0, elements=elements)
        assert len(bench.write(shapes=[skeleton, bench.box(1)]).shape_ids) == 2
        found = bench.read().shapes
        assert [_unnamed_shape(shape) for shape in found] == [skeleton, bench.box(1)]

    def test_attributes_come_back(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        parked, age = bench.labels["car"].attributes
        given = (
            AttributeValue(spec_id=parked.id or 0, value="true"),
            AttributeValue(spec_id=age.id or 0, value="7"),
        )
        bench.write(shapes=[bench.box(0, attributes=given)], tags=[bench.tag(0, attributes=given)])
        found = bench.read()
        assert sorted(found.shapes[0].attributes, key=lambda item: item.spec_id) == list(given)
        assert sorted(found.tags[0].attributes, key=lambda item: item.spec_id) == list(given)

    def test_score_comes_back(self, scenarios: Scenarios) -> None:
        if "score" not in scenarios.features:
            pytest.skip("this engine keeps no scores")
        bench = Bench(scenarios)
        bench.write(shapes=[bench.box(0, score=0.25)], tags=[bench.tag(1, score=0.5)])
        found = bench.read()
        assert (found.shapes[0].score, found.tags[0].score) == (0.25, 0.5)

    def test_tracks_come_back(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        track = bench.track((1, False), (3, True), source="auto")
        ((track_id,),) = bench.write(tracks=[track], frames=[1]).track_ids
        (found,) = bench.read().tracks
        assert found.id == track_id
        assert _unnamed_track(found) == track

    def test_tracks_can_be_asked_for_alone(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        assert bench.engine.tracks(bench.task_id) == ()
        early, late = bench.track((0, False), (1, True)), bench.track((3, False), (4, True))
        bench.write(shapes=[bench.box(0)], tracks=[early, late])
        found = bench.read().tracks
        assert bench.engine.tracks(bench.task_id) == found
        assert bench.engine.tracks(bench.task_id, frames=[2, 4]) == found[1:]
        assert bench.engine.tracks(bench.task_id, frames=[2]) == ()

    def test_ids_are_in_the_order_of_what_was_added(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        shapes = [bench.box(frame, left=float(left)) for left, frame in enumerate((3, 0, 3, 1))]
        tags = [bench.tag(frame) for frame in (2, 0)]
        written = bench.write(shapes=shapes, tags=tags)
        found = bench.read()
        by_id = {shape.id: shape.points[0] for shape in found.shapes}
        assert [by_id[ids[0]] for ids in written.shape_ids] == [0.0, 1.0, 2.0, 3.0]
        tag_frames = {tag.id: tag.frame for tag in found.tags}
        assert [tag_frames[ids[0]] for ids in written.tag_ids] == [2, 0]

    def test_many_shapes_are_written_at_once(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        shapes = [bench.box(number % 6, left=float(number)) for number in range(1500)]
        written = bench.write(shapes=shapes)
        assert len(set(_ids(written.shape_ids))) == 1500
        assert len(bench.read(frames=[2]).shapes) == 250

    def test_label_of_another_task_is_refused(self, scenarios: Scenarios) -> None:
        bench, other = Bench(scenarios), Bench(scenarios)
        with pytest.raises(InvalidRequest):
            bench.write(shapes=[other.box(0)])
        assert not bench.read()

    def test_failed_transaction_leaves_everything_as_it_was(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        bench.write(shapes=[bench.box(0, left=1.0)])
        with pytest.raises(ZeroDivisionError), scenarios.engine.atomic():
            bench.write(shapes=[bench.box(0, left=5.0)], remove=Removal(policy="all"))
            raise ZeroDivisionError
        assert bench.places() == [(0, 1.0)]

    # Removing

    def test_removing_all_touches_only_the_frames_of_the_change(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        before = bench.write(
            shapes=[bench.box(frame) for frame in range(4)],
            tags=[bench.tag(frame) for frame in range(4)],
            tracks=[bench.track((1, False))],
        )
        shape_ids, tag_ids = _ids(before.shape_ids), _ids(before.tag_ids)
        written = bench.write(
            shapes=[bench.box(1, left=50.0)], frames=[1, 2], remove=Removal(policy="all")
        )
        assert bench.places() == [(0, 1.0), (1, 50.0), (3, 1.0)]
        assert [tag.frame for tag in bench.read().tags] == [0, 3]
        assert len(bench.read().tracks) == 1
        assert written.removed == 4
        assert set(written.removed_shape_ids) == {shape_ids[1], shape_ids[2]}
        assert set(written.removed_tag_ids) == {tag_ids[1], tag_ids[2]}
        assert written.removed_track_ids == ()

    def test_removing_what_is_automatic_keeps_what_people_made(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        sources: list[Any] = ["auto", "manual", "semi-auto", "file"]
        bench.write(
            shapes=[
                bench.box(1, left=float(place), source=source)
                for place, source in enumerate(sources)
            ]
        )
        bench.write(frames=[1], remove=Removal(policy="automatic"))
        assert sorted(shape.source for shape in bench.read().shapes) == sorted(sources[1:])

    def test_removing_by_id_is_exact_and_may_be_repeated(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        written = bench.write(
            shapes=[bench.box(0, left=1.0), bench.box(0, left=2.0)],
            tags=[bench.tag(0), bench.tag(1)],
            tracks=[bench.track((0, False)), bench.track((1, False))],
        )
        removal = Removal(
            policy="ids",
            shape_ids=written.shape_ids[0],
            tag_ids=written.tag_ids[0],
            track_ids=written.track_ids[0],
        )
        gone = bench.write(remove=removal)
        assert (gone.removed_shape_ids, gone.removed_tag_ids, gone.removed_track_ids) == (
            written.shape_ids[0],
            written.tag_ids[0],
            written.track_ids[0],
        )
        assert bench.write(remove=removal).removed == 0
        left = bench.read()
        assert [shape.id for shape in left.shapes] == list(written.shape_ids[1])
        assert [tag.id for tag in left.tags] == list(written.tag_ids[1])
        assert [track.id for track in left.tracks] == list(written.track_ids[1])

    def test_removed_skeleton_takes_its_elements_along(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        person = bench.labels["person"]
        head = Shape(
            type="points", frame=0, label_id=person.sublabels[0].id or 0, points=(1.0, 1.0)
        )
        skeleton = Shape(type="skeleton", frame=0, label_id=person.id or 0, elements=(head,))
        ((skeleton_id,),) = bench.write(shapes=[skeleton]).shape_ids
        written = bench.write(frames=[0], remove=Removal(policy="all"))
        assert written.removed_shape_ids == (skeleton_id,)
        assert not bench.read()

    # Scopes

    def test_shape_on_shared_frames_is_in_both_jobs_and_once_in_the_task(
        self, scenarios: Scenarios
    ) -> None:
        bench = Bench(scenarios, frames=6, segment_size=4, overlap=2)
        first, second = bench.jobs
        written = bench.write(shapes=[bench.box(0), bench.box(2), bench.box(5)])
        assert [shape.frame for shape in bench.read().shapes] == [0, 2, 5]
        assert [place[0] for place in bench.places(job_id=first.id)] == [0, 2]
        assert [place[0] for place in bench.places(job_id=second.id)] == [2, 5]
        bench.write(remove=Removal(policy="ids", shape_ids=written.shape_ids[1]))
        assert [place[0] for place in bench.places(job_id=first.id)] == [0]
        assert [place[0] for place in bench.places(job_id=second.id)] == [5]

    def test_change_of_a_job_leaves_other_jobs_alone(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3)
        first, second = bench.jobs
        bench.write(shapes=[bench.box(0), bench.box(4)])
        bench.write(
            job_id=first.id,
            frames=list(range(6)),
            shapes=[bench.box(1, left=9.0)],
            remove=Removal(policy="all"),
        )
        assert bench.places(job_id=first.id) == [(1, 9.0)]
        assert bench.places(job_id=second.id) == [(4, 1.0)]

    def test_ids_removed_from_a_job_are_those_of_its_own_copies(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=4, overlap=2)
        first, second = bench.jobs
        (copies,) = bench.write(shapes=[bench.box(2)]).shape_ids
        gone = bench.write(
            job_id=first.id, remove=Removal(policy="ids", shape_ids=copies)
        ).removed_shape_ids
        left = {shape.id for shape in bench.read(job_id=second.id).shapes}
        assert set(gone) == set(copies) - left
        assert len(gone) == 1

    def test_ids_are_there_as_long_as_their_annotations(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        written = bench.write(
            shapes=[bench.box(0), bench.box(1)],
            tags=[bench.tag(0), bench.tag(1)],
            tracks=[bench.track((0, False)), bench.track((1, False))],
        )
        made: dict[AnnotationKind, list[int]] = {
            "shape": _ids(written.shape_ids),
            "tag": _ids(written.tag_ids),
            "track": _ids(written.track_ids),
        }
        engine = scenarios.engine
        for kind, ids in made.items():
            assert engine.existing_ids(kind, [*ids, UNKNOWN]) == set(ids)
            assert engine.existing_ids(kind, []) == set()
        first = {kind: ids[:1] for kind, ids in made.items()}
        removal = Removal(
            policy="ids",
            shape_ids=first["shape"],
            tag_ids=first["tag"],
            track_ids=first["track"],
        )
        bench.write(remove=removal)
        for kind, ids in made.items():
            assert engine.existing_ids(kind, ids) == set(ids[1:])

    def test_shapes_that_are_there_can_be_held_and_removed(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3)
        engine = scenarios.engine
        ids = _ids(bench.write(shapes=[bench.box(frame) for frame in (0, 1, 4)]).shape_ids)
        bench.write(remove=Removal(policy="ids", shape_ids=ids[1:2]))
        with engine.atomic():
            held = engine.hold_shapes(bench.task_id, [*ids, UNKNOWN])
            assert held == {ids[0], ids[2]}
            assert engine.hold_shapes(bench.task_id, []) == set()
            change = Change(task_id=bench.task_id, remove=Removal(policy="ids", shape_ids=held))
            assert sorted(engine.apply(change).removed_shape_ids) == sorted(held)
        assert bench.read().shapes == ()
        with engine.atomic(), pytest.raises(TaskNotFound):
            engine.hold_shapes(UNKNOWN, ids)

    def test_tracks_made_later_have_higher_ids(self, scenarios: Scenarios) -> None:
        bench, other = Bench(scenarios, frames=6, segment_size=3), Bench(scenarios)
        assert scenarios.engine.last_track_id(bench.task_id) == 0
        first = _ids(bench.write(tracks=[bench.track((0, False), (5, True))]).track_ids)
        assert scenarios.engine.last_track_id(bench.task_id) == max(first)
        bench.write(remove=Removal(policy="ids", track_ids=first))
        other.write(tracks=[other.track((0, False))])
        last = scenarios.engine.last_track_id(bench.task_id)
        assert last < min(_ids(bench.write(tracks=[bench.track((1, False))]).track_ids))

    def test_annotations_can_be_asked_for_some_frames(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        bench.write(
            shapes=[bench.box(frame) for frame in range(5)],
            tracks=[bench.track((0, False), (3, False)), bench.track((1, False))],
        )
        found = bench.read(frames=[3, 4])
        assert [shape.frame for shape in found.shapes] == [3, 4]
        assert [track.frame for track in found.tracks] == [0]
        assert not bench.read(frames=[])

    def test_annotated_frames_count_shapes_tags_and_visible_tracks(
        self, scenarios: Scenarios
    ) -> None:
        bench = Bench(scenarios, frames=9, segment_size=5)
        bench.write(
            shapes=[bench.box(0)], tags=[bench.tag(1)], tracks=[bench.track((3, False), (6, True))]
        )
        assert scenarios.engine.annotated_frames(bench.task_id) == {0, 1, 3, 4, 5}
        second = bench.jobs[1]
        assert scenarios.engine.annotated_frames(bench.task_id, job_id=second.id) == {5}

    def test_ground_truth_has_annotations_of_its_own(self, scenarios: Scenarios) -> None:
        if "ground_truth" not in scenarios.features:
            pytest.skip("this engine has no ground-truth jobs")
        bench = Bench(scenarios)
        job_id = scenarios.ground_truth_job(bench.task_id, [1, 3])
        job = scenarios.engine.job(job_id)
        assert (job.type, list(job.frames)) == ("ground_truth", [1, 3])
        bench.write(shapes=[bench.box(1, left=1.0), bench.box(2, left=1.0)])
        bench.write(job_id=job_id, shapes=[bench.box(1, left=7.0)])
        assert bench.places() == [(1, 1.0), (2, 1.0)]
        assert bench.places(job_id=job_id) == [(1, 7.0)]
        bench.write(frames=[1], remove=Removal(policy="all"))
        assert bench.places(job_id=job_id) == [(1, 7.0)]

    # Access

    def test_owner_may_edit_and_a_stranger_may_not_even_see(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        (job,) = bench.jobs
        alice, charlie = scenarios.access("alice"), scenarios.access("charlie")
        alice.require_task(bench.task_id, "edit")
        alice.require_job(job.id, "edit")
        assert alice.editable_task_ids([bench.task_id, UNKNOWN]) == {bench.task_id}
        assert alice.editable_job_ids([job.id, UNKNOWN]) == {job.id}
        assert alice.viewable_task_ids([bench.task_id, UNKNOWN]) == {bench.task_id}
        assert alice.viewable_job_ids([job.id, UNKNOWN]) == {job.id}
        assert bench.task_id in _listed(alice.visible_task_ids())
        assert job.id in _listed(alice.visible_job_ids())
        assert bench.task_id not in _listed(charlie.visible_task_ids())
        assert job.id not in _listed(charlie.visible_job_ids())
        assert charlie.viewable_task_ids([bench.task_id]) == set()
        assert charlie.viewable_job_ids([job.id]) == set()
        assert charlie.editable_task_ids([bench.task_id]) == set()
        assert charlie.editable_job_ids([job.id]) == set()
        assert not alice.sees_everything
        with pytest.raises(TaskNotFound):
            charlie.require_task(bench.task_id, "view")
        with pytest.raises(JobNotFound):
            charlie.require_job(job.id, "view")
        with pytest.raises(TaskNotFound):
            alice.require_task(UNKNOWN, "view")

    def test_assignee_of_a_job_edits_it_and_sees_its_task(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3)
        mine, other = bench.jobs
        scenarios.assign_job(mine.id, "bob")
        bob = scenarios.access("bob")
        bob.require_task(bench.task_id, "view")
        bob.require_job(mine.id, "edit")
        with pytest.raises(PermissionDenied):
            bob.require_task(bench.task_id, "edit")
        with pytest.raises(JobNotFound):
            bob.require_job(other.id, "view")
        assert bob.viewable_task_ids([bench.task_id]) == {bench.task_id}
        assert bob.editable_task_ids([bench.task_id]) == set()
        assert bob.viewable_job_ids([mine.id, other.id]) == {mine.id}
        assert bob.editable_job_ids([mine.id, other.id]) == {mine.id}
        assert {mine.id, other.id} & _listed(bob.visible_job_ids()) == {mine.id}

    def test_project_is_seen_by_its_owner_alone(self, scenarios: Scenarios) -> None:
        project_id, _ = scenarios.project(1)
        scenarios.access("alice").require_project(project_id, "edit")
        with pytest.raises(NotFound):
            scenarios.access("charlie").require_project(project_id, "view")
