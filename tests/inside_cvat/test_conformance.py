"""The conformance suite of the engine port, run on CVAT."""

from __future__ import annotations

import pytest

from cvat_lambda.engine.conformance import Bench, EngineConformance, Scenarios
from cvat_lambda.errors import PermissionDenied
from tests.inside_cvat.scenarios import CvatScenarios


class TestCvatEngine(EngineConformance):
    @pytest.fixture
    def scenarios(self, cvat: CvatScenarios) -> Scenarios:
        found: Scenarios = cvat
        return found

    def test_assignee_of_a_job_edits_it_and_sees_its_task(self, scenarios: Scenarios) -> None:
        """In CVAT's sandbox the assignee of a job does not see its task."""
        bench = Bench(scenarios, frames=6, segment_size=3)
        mine, other = bench.jobs
        scenarios.assign_job(mine.id, "bob")
        bob = scenarios.access("bob")
        bob.require_job(mine.id, "edit")
        with pytest.raises(PermissionDenied):
            bob.require_task(bench.task_id, "edit")
        with pytest.raises(PermissionDenied):
            bob.require_job(other.id, "view")
        assert bob.viewable_task_ids([bench.task_id]) == set()
        assert bob.editable_task_ids([bench.task_id]) == set()
        assert bob.viewable_job_ids([mine.id, other.id]) == {mine.id}
        assert bob.editable_job_ids([mine.id, other.id]) == {mine.id}
        visible = set(bob.visible_job_ids_without_task().values_list("pk", flat=True))
        assert {mine.id, other.id} & visible == {mine.id}
