"""Conformance tests: jobs that share frames, ids of annotations, ground-truth jobs."""

from __future__ import annotations

import pytest

from cvat_lambda.engine.conformance.scenarios import UNKNOWN, Bench, Scenarios, flat
from cvat_lambda.engine.port import AnnotationKind, Change, Removal
from cvat_lambda.errors import TaskNotFound


class Scopes:
    """Tests of `EngineConformance`."""

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

    def test_ids_exist_as_long_as_their_annotations(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        written = bench.write(
            shapes=[bench.box(0), bench.box(1)],
            tags=[bench.tag(0), bench.tag(1)],
            tracks=[bench.track((0, False)), bench.track((1, False))],
        )
        made: dict[AnnotationKind, list[int]] = {
            "shape": flat(written.shape_ids),
            "tag": flat(written.tag_ids),
            "track": flat(written.track_ids),
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

    def test_locked_annotations_are_returned_and_can_be_removed(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3)
        engine = scenarios.engine
        ids = flat(bench.write(shapes=[bench.box(frame) for frame in (0, 1, 4)]).shape_ids)
        bench.write(remove=Removal(policy="ids", shape_ids=ids[1:2]))
        with engine.atomic():
            locked = engine.lock_annotations(bench.task_id, shape_ids=[*ids, UNKNOWN])
            assert locked.shapes == bench.read().shapes
            assert {shape.id for shape in locked.shapes} == {ids[0], ids[2]}
            assert not engine.lock_annotations(bench.task_id)
            change = Change(task_id=bench.task_id, remove=Removal(policy="ids", shape_ids=ids))
            assert sorted(engine.apply(change).removed_shape_ids) == [ids[0], ids[2]]
        assert bench.read().shapes == ()
        with engine.atomic(), pytest.raises(TaskNotFound):
            engine.lock_annotations(UNKNOWN, shape_ids=ids)

    def test_tracks_made_later_have_higher_ids(self, scenarios: Scenarios) -> None:
        bench, other = Bench(scenarios, frames=6, segment_size=3), Bench(scenarios)
        assert scenarios.engine.last_track_id(bench.task_id) == 0
        first = flat(bench.write(tracks=[bench.track((0, False), (5, True))]).track_ids)
        assert scenarios.engine.last_track_id(bench.task_id) == max(first)
        bench.write(remove=Removal(policy="ids", track_ids=first))
        other.write(tracks=[other.track((0, False))])
        last = scenarios.engine.last_track_id(bench.task_id)
        assert last < min(flat(bench.write(tracks=[bench.track((1, False))]).track_ids))

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
