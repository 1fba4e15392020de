"""Writing annotations into CVAT: events, webhooks, replicas, scores."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from cvat.apps.engine import models
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import FloatField
from django.db.models.signals import post_save
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.engine.conformance import Bench, EngineConformance
from cvat_lambda.engine.cvat import compat, inserting, reading
from cvat_lambda.engine.port import Removal
from cvat_lambda.json_rows import insert_statement
from tests.inside_cvat.scenarios import CvatScenarios
from tests.postgresql import waiting_connections
from tests.waiting import wait_for


@pytest.fixture
def saved() -> Iterator[Counter[str]]:
    """Counts saves of jobs, tasks and projects. Each triggers their webhooks."""
    counted: Counter[str] = Counter()

    def count(sender: Any, **_: Any) -> None:
        if sender in (models.Job, models.Task, models.Project):
            counted[sender.__name__] += 1

    post_save.connect(count)
    yield counted
    post_save.disconnect(count)


def test_batches_trigger_no_webhook_and_the_end_of_the_request_triggers_each_once(
    cvat: CvatScenarios, saved: Counter[str]
) -> None:
    from cvat_lambda.models import Request, Shard

    project_id, (task_id, _) = cvat.project(2)
    begun = timezone.now()
    bench = Bench.__new__(Bench)
    bench.engine, bench.task_id = cvat.engine, task_id
    bench.labels = {label.name: label for label in cvat.engine.task(task_id).labels}
    saved.clear()
    for _ in range(3):
        bench.write(shapes=[bench.box(0), bench.box(1)])
    assert saved == Counter()
    assert models.Task.objects.get(pk=task_id).updated_date >= begun
    assert models.Project.objects.get(pk=project_id).updated_date >= begun

    request = Request.objects.create(
        owner=cvat.people["alice"],
        function_id="f",
        function_kind="detector",
        task_id=task_id,
        shapes=6,
        started_at=begun,
    )
    Shard.objects.create(
        request=request, index=0, task_id=task_id, frames=[[0, 1]], first_frame=0, last_frame=1
    )
    signals.request_finished.send(sender=Request, request=request)
    assert saved == Counter(Job=1, Task=1, Project=1)


def test_change_sends_one_event_per_job_and_kind(
    cvat: CvatScenarios, monkeypatch: pytest.MonkeyPatch, people: dict[str, User]
) -> None:
    from cvat.apps.events import handlers

    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(handlers, "record_server_event", lambda **event: sent.append(event))
    bench = Bench(cvat, frames=4)
    sent.clear()
    bench.write(shapes=[bench.box(frame) for frame in range(4)], tags=[bench.tag(0)])
    assert sorted(event["scope"] for event in sent) == ["create:shapes", "create:tags"]
    assert [event["count"] for event in sent if event["scope"] == "create:shapes"] == [4]
    sent.clear()
    bench.write(frames=range(4), remove=Removal(policy="all"))
    assert sorted(event["scope"] for event in sent) == ["delete:shapes", "delete:tags"]


@pytest.mark.django_db(transaction=True)
def test_replacement_waits_for_a_user_who_deletes_the_same_shapes_without_a_deadlock(
    cvat: CvatScenarios,
) -> None:
    """CVAT deletes rows first and then updates their job."""
    bench = Bench(cvat, frames=2)
    bench.write(shapes=[bench.box(0), bench.box(1)], tags=[bench.tag(0)])
    errors: list[Exception] = []

    def replace() -> None:
        try:
            bench.write(frames=[0, 1], remove=Removal(policy="all"), shapes=[bench.box(0, left=5)])
        except Exception as exc:
            errors.append(exc)
        finally:
            connection.close()

    thread = threading.Thread(target=replace)
    try:
        with transaction.atomic():
            models.LabeledShape.objects.filter(job_id=bench.jobs[0].id, frame=1).delete()
            thread.start()
            wait_for("a waiting connection", waiting_connections)
            models.Job.objects.get(pk=bench.jobs[0].id).touch()
    finally:
        thread.join()
    assert errors == []
    assert bench.places() == [(0, 5.0)]


def test_write_to_a_replica_changes_no_other_job(cvat: CvatScenarios) -> None:
    bench = Bench(cvat, frames=2, spec={"consensus_replicas": 2})
    replica = next(job for job in bench.jobs if job.type == "consensus_replica")
    bench.write(shapes=[bench.box(0)])
    bench.write(job_id=replica.id, shapes=[bench.box(1)])
    assert bench.places() == [(0, 1.0)]
    assert bench.places(job_id=replica.id) == [(1, 1.0)]


def test_written_annotations_are_read_back_by_cvats_api(cvat: CvatScenarios) -> None:
    bench = Bench(cvat, frames=3)
    bench.write(shapes=[bench.box(2, source="auto")], tracks=[bench.track((0, False), (1, True))])
    found = cvat.send("get", f"/api/tasks/{bench.task_id}/annotations")
    (shape,) = found["shapes"]
    assert (shape["frame"], shape["source"], shape["points"]) == (
        2,
        "auto",
        [1.0, 2.0, 11.5, 20.25],
    )
    assert [key["frame"] for key in found["tracks"][0]["shapes"]] == [0, 1]


def test_unknown_column_gets_the_default_of_its_model() -> None:
    known = [field.attname for field in models.LabeledShape._meta.concrete_fields]
    assert inserting.column_defaults(models.LabeledShape, tuple(known)) == {}
    for name in ("rotation", "points", "source"):
        known.remove(name)
    found = inserting.column_defaults(models.LabeledShape, tuple(known))
    assert found == {"rotation": 0, "points": "", "source": "manual"}


@pytest.fixture
def scores(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the ``score`` columns of later versions of CVAT."""
    if compat.HAS_SCORE:
        pytest.skip("this version of CVAT has scores, so all tests run with them")
    tables = (models.LabeledShape, models.LabeledImage)
    with connection.schema_editor() as editor:  # rolled back with the test
        for table in tables:
            FloatField(default=1.0).contribute_to_class(table, "score")
            editor.add_field(table, table._meta.get_field("score"))
    for module in (inserting, reading):
        monkeypatch.setattr(module, "HAS_SCORE", compat.has_field(models.LabeledShape, "score"))
        monkeypatch.setattr(module, "HAS_TAG_SCORE", compat.has_field(models.LabeledImage, "score"))
    forget_columns()
    yield
    for table in tables:
        table._meta.local_fields.remove(table._meta.get_field("score"))
        table._meta._expire_cache()
        del table.score
    forget_columns()


def forget_columns() -> None:
    insert_statement.cache_clear()
    inserting.column_defaults.cache_clear()


def test_score_is_written_if_the_table_has_a_column_for_it(
    scores: None, cvat: CvatScenarios
) -> None:
    cvat.features |= {"score"}
    EngineConformance().test_score_comes_back(cvat)
    assert sorted(models.LabeledShape.objects.values_list("score", flat=True)) == [0.25]
    assert sorted(models.LabeledImage.objects.values_list("score", flat=True)) == [0.5]
    # Elements of skeletons are rows of the same table.
    EngineConformance().test_skeleton_comes_back_with_its_elements(cvat)
