"""Conformance tests: the properties of tasks, labels, jobs and projects."""

from __future__ import annotations

import pytest

from cvat_lambda.engine.conformance.scenarios import LABELS, UNKNOWN, Bench, Scenarios, id_in
from cvat_lambda.errors import JobNotFound, NotFound, TaskNotFound


class Facts:
    """Tests of `EngineConformance`."""

    def test_task_has_size_dimension_and_deleted_frames(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, deleted=[1, 4])
        task = scenarios.engine.task(bench.task_id)
        assert (task.id, task.size, task.dimension) == (bench.task_id, 6, "2d")
        assert task.deleted_frames == {1, 4}

    def test_labels_are_a_tree_with_ids(self, scenarios: Scenarios) -> None:
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

    def test_tasks_and_jobs_read_together_equal_those_read_alone(
        self, scenarios: Scenarios
    ) -> None:
        _, tasks = scenarios.project(2)
        alone = scenarios.task(frames=6, segment_size=4, deleted=[2])
        other = scenarios.task()
        wanted = [*tasks, alone, other]
        engine = scenarios.engine
        found = engine.tasks([*wanted, UNKNOWN])
        assert found == {task_id: engine.task(task_id) for task_id in wanted}
        jobs = [job for task in found.values() for job in task.jobs]
        assert engine.jobs([*(job.id for job in jobs), UNKNOWN]) == {job.id: job for job in jobs}
        assert set(wanted) <= {id_in(row) for row in engine.task_ids()}
        assert (engine.tasks([]), engine.jobs([])) == ({}, {})

    def test_project_lists_its_tasks(self, scenarios: Scenarios) -> None:
        project_id, tasks = scenarios.project(2)
        assert sorted(scenarios.engine.project_task_ids(project_id)) == sorted(tasks)
        assert scenarios.engine.task(tasks[0]).project_id == project_id
        assert [label.name for label in scenarios.engine.task(tasks[0]).labels] == [
            label.name for label in LABELS
        ]

    def test_unknown_ids_raise_not_found(self, scenarios: Scenarios) -> None:
        with pytest.raises(TaskNotFound):
            scenarios.engine.task(UNKNOWN)
        with pytest.raises(JobNotFound):
            scenarios.engine.job(UNKNOWN)
        with pytest.raises(NotFound):
            scenarios.engine.project_task_ids(UNKNOWN)
