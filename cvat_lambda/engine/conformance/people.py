"""Conformance tests: who may view and edit what."""

from __future__ import annotations

import pytest

from cvat_lambda.engine.conformance.scenarios import UNKNOWN, Bench, Scenarios, listed_ids
from cvat_lambda.errors import JobNotFound, PermissionDenied, ProjectNotFound, TaskNotFound


class People:
    """Tests of `EngineConformance`."""

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
        assert bench.task_id in listed_ids(alice.visible_task_ids())
        assert job.id not in listed_ids(alice.visible_job_ids_without_task())
        assert bench.task_id not in listed_ids(charlie.visible_task_ids())
        assert job.id not in listed_ids(charlie.visible_job_ids_without_task())
        assert charlie.viewable_task_ids([bench.task_id]) == set()
        assert charlie.viewable_job_ids([job.id]) == set()
        assert charlie.editable_task_ids([bench.task_id]) == set()
        assert charlie.editable_job_ids([job.id]) == set()
        assert not alice.sees_everything
        with pytest.raises(PermissionDenied):
            charlie.require_task(bench.task_id, "view")
        with pytest.raises(PermissionDenied):
            charlie.require_job(job.id, "view")
        for person in (alice, charlie):
            with pytest.raises(TaskNotFound):
                person.require_task(UNKNOWN, "view")
            with pytest.raises(JobNotFound):
                person.require_job(UNKNOWN, "view")
            with pytest.raises(ProjectNotFound):
                person.require_project(UNKNOWN, "view")

    def test_assignee_of_a_job_edits_it_and_sees_its_task(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3)
        mine, other = bench.jobs
        scenarios.assign_job(mine.id, "bob")
        bob = scenarios.access("bob")
        bob.require_task(bench.task_id, "view")
        bob.require_job(mine.id, "edit")
        with pytest.raises(PermissionDenied):
            bob.require_task(bench.task_id, "edit")
        with pytest.raises(PermissionDenied):
            bob.require_job(other.id, "view")
        assert bob.viewable_task_ids([bench.task_id]) == {bench.task_id}
        assert bob.editable_task_ids([bench.task_id]) == set()
        assert bob.viewable_job_ids([mine.id, other.id]) == {mine.id}
        assert bob.editable_job_ids([mine.id, other.id]) == {mine.id}
        assert bench.task_id in listed_ids(bob.visible_task_ids())
        assert not {mine.id, other.id} & listed_ids(bob.visible_job_ids_without_task())

    def test_call_facts_are_those_of_the_task_and_the_job_for_who_may_view_them(
        self, scenarios: Scenarios
    ) -> None:
        bench = Bench(scenarios, frames=6, segment_size=3)
        mine, other = bench.jobs
        scenarios.assign_job(mine.id, "bob")
        engine = scenarios.engine
        # Whether the assignee of a job may view its task differs between engines.
        for name, job_id in (("alice", None), ("alice", other.id), ("bob", mine.id)):
            access = scenarios.access(name)
            facts = engine.call_facts(
                access, task_id=bench.task_id, job_id=job_id, frames=[1, 4, UNKNOWN]
            )
            assert facts.task_id == bench.task_id
            assert facts.job == (None if job_id is None else engine.job(job_id))
            for number, known in facts.frames.items():
                assert known.key == engine.frame_key(bench.task_id, number)
                assert known.read() == engine.frame(bench.task_id, number)
        refused: tuple[tuple[str, int | None, int | None, type[Exception]], ...] = (
            ("bob", None, other.id, PermissionDenied),
            ("charlie", None, mine.id, PermissionDenied),
            ("charlie", bench.task_id, None, PermissionDenied),
            ("alice", None, UNKNOWN, JobNotFound),
            ("alice", UNKNOWN, None, TaskNotFound),
        )
        for name, task_id, job_id, error in refused:
            access = scenarios.access(name)
            with pytest.raises(error):
                engine.call_facts(access, task_id=task_id, job_id=job_id, frames=[0])

    def test_project_is_seen_by_its_owner_alone(self, scenarios: Scenarios) -> None:
        project_id, _ = scenarios.project(1)
        scenarios.access("alice").require_project(project_id, "edit")
        with pytest.raises(PermissionDenied):
            scenarios.access("charlie").require_project(project_id, "view")
