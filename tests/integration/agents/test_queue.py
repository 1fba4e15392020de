"""The queue of a native function as an agent sees it: assignment, lease, result, failure."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.agents import presence, queue
from cvat_lambda.agents.models import Agent, Category, NativeFunction, QueueEntry
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import Function

from .scripted import ScriptedAgent

AGENT = "a" * 32


def enqueue(native_pk: int, category: Category = Category.BATCH, **options: Any) -> int:
    return queue.enqueue(
        native_pk, category=category, params={"type": "annotate_frame"}, wanted_s=60, **options
    )


def state_of(entry_id: int) -> str:
    return str(QueueEntry.objects.get(pk=entry_id).state)


def worked_too_long(entry_id: int | str) -> None:
    """Let an entry be assigned an hour ago."""
    begun = timezone.now() - timedelta(hours=1)
    QueueEntry.objects.filter(pk=entry_id).update(assigned_at=begun)


def test_acquire_returns_the_oldest_entry_of_the_category(agent: ScriptedAgent) -> None:
    first, second = enqueue(agent.native_pk), enqueue(agent.native_pk)
    urgent = enqueue(agent.native_pk, Category.INTERACTIVE)
    assert agent.acquire("interactive") == {
        "ar_id": str(urgent),
        "ar_params": {"type": "annotate_frame"},
    }
    agent.post(f"{urgent}/complete", answer=1)
    found = agent.acquire()
    assert found is not None
    assert found["ar_id"] == str(first)
    assert state_of(second) == "queued"


def test_two_agents_never_get_the_same_entry(agent: ScriptedAgent) -> None:
    for _ in range(20):
        enqueue(agent.native_pk)
    taken: list[int] = []
    lock = threading.Lock()

    def take(agent_id: str) -> None:
        try:
            while found := queue.acquire(agent.native_pk, agent_id, "batch", lease_s=60):
                queue.complete(agent.native_pk, found.entry_id, agent_id, {})
                with lock:
                    taken.append(found.entry_id)
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(letter * 32,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(QueueEntry.objects.values_list("pk", flat=True))


def test_entry_whose_caller_has_died_is_not_assigned(agent: ScriptedAgent) -> None:
    entry_id = enqueue(agent.native_pk)
    QueueEntry.objects.filter(pk=entry_id).update(wanted_until=timezone.now())
    assert agent.acquire() is None


def test_pinned_entry_is_assigned_to_its_agent_only(agent: ScriptedAgent) -> None:
    entry_id = enqueue(agent.native_pk, pinned_to=AGENT)
    assert agent.acquire() is None
    found = queue.acquire(agent.native_pk, AGENT, "batch", lease_s=60)
    assert found is not None
    assert found.entry_id == entry_id


def test_repeated_complete_is_accepted_and_changes_nothing(agent: ScriptedAgent) -> None:
    enqueue(agent.native_pk)
    found = agent.acquire()
    assert found is not None
    assert agent.post(f"{found['ar_id']}/complete", answer=1).status_code == 200
    assert agent.post(f"{found['ar_id']}/complete", answer=2).status_code == 200
    assert json.loads(QueueEntry.objects.get(pk=found["ar_id"]).result) == {"answer": 1}


def test_entry_of_another_agent_cannot_be_completed(agent: ScriptedAgent) -> None:
    entry_id = enqueue(agent.native_pk)
    agent.acquire()
    other = ScriptedAgent(agent.client, agent.native_pk)
    for path in ("complete", "update", "fail"):
        response = other.post(f"{entry_id}/{path}", progress=0.5, exc_info="x")
        assert (response.status_code, response.json()["code"]) == (409, "state_conflict")
    assert state_of(entry_id) == "assigned"


def test_unknown_entry_is_not_found(agent: ScriptedAgent) -> None:
    response = agent.post("987654/complete", answer=1)
    assert response.status_code == 404
    assert response.json()["code"] == "annotation_request_not_found"


def test_update_renews_the_lease_and_stores_the_progress(agent: ScriptedAgent) -> None:
    entry_id = enqueue(agent.native_pk)
    agent.acquire()
    QueueEntry.objects.filter(pk=entry_id).update(lease_expires_at=timezone.now())
    assert agent.post(f"{entry_id}/update", progress=0.25).status_code == 200
    entry = QueueEntry.objects.get(pk=entry_id)
    assert entry.progress == 0.25
    assert entry.lease_expires_at is not None
    assert entry.lease_expires_at > timezone.now()


def test_lease_that_was_renewed_does_not_expire(agent: ScriptedAgent) -> None:
    """The agent may renew its lease after its caller has read that it expired."""
    entry_id = enqueue(agent.native_pk)
    agent.acquire()
    leases = QueueEntry.objects.filter(pk=entry_id)
    leases.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    found = queue.look(entry_id)
    assert found is not None
    assert found.is_lease_expired
    assert agent.post(f"{entry_id}/update", progress=0.5).status_code == 200
    assert not queue.expire(entry_id, agent.agent_id)
    assert state_of(entry_id) == "assigned"
    leases.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert queue.expire(entry_id, agent.agent_id)
    assert state_of(entry_id) == "failed"


def test_update_after_the_longest_time_of_work_takes_the_entry_from_the_agent(
    agent: ScriptedAgent, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_AGENT_MAX_WORK_S = 300.0
    entry_id = enqueue(agent.native_pk)
    agent.acquire()
    worked_too_long(entry_id)
    Agent.objects.update(heard_at=timezone.now() - timedelta(seconds=60))
    heard_at = Agent.objects.get().heard_at
    response = agent.post(f"{entry_id}/update", progress=0.5)
    assert (response.status_code, response.json()["code"]) == (409, "state_conflict")
    entry = QueueEntry.objects.get(pk=entry_id)
    assert (entry.state, entry.error_code) == ("failed", "agent_lost")
    assert entry.error_message == "the agent worked on this input for more than 300 s"
    assert Agent.objects.get().heard_at == heard_at  # no sign of life
    assert agent.post(f"{entry_id}/complete", answer=1).status_code == 200
    assert state_of(entry_id) == "failed"


def test_agent_is_busy_with_a_cancelled_entry_until_it_answers(agent: ScriptedAgent) -> None:
    entry_id, waiting = enqueue(agent.native_pk), enqueue(agent.native_pk)
    agent.acquire()
    for cancelled in (entry_id, waiting):  # an agent works on the first one only
        queue.cancel(cancelled)
    assert queue.is_busy(agent.native_pk, agent.agent_id)
    assert not queue.is_busy(agent.native_pk, "0" * 32)
    assert agent.post(f"{entry_id}/complete", answer=1).status_code == 200
    assert not queue.is_busy(agent.native_pk)
    assert state_of(entry_id) == "cancelled"


def cancelled_while_assigned(agent: ScriptedAgent, *, since_s: float) -> int:
    """Return an entry that its caller gave up so long after the agent had got it."""
    entry_id = enqueue(agent.native_pk)
    found = agent.acquire()
    assert found is not None
    assert found["ar_id"] == str(entry_id)
    begun = timezone.now() - timedelta(seconds=since_s)
    QueueEntry.objects.filter(pk=entry_id).update(assigned_at=begun)
    queue.cancel(entry_id)
    return entry_id


def answered(agent: ScriptedAgent, *, within_s: float) -> None:
    """Let an agent answer an entry, on which it worked for so long."""
    entry_id = enqueue(agent.native_pk)
    agent.acquire()
    assert agent.post(f"{entry_id}/complete", answer=1).status_code == 200
    entries = QueueEntry.objects.filter(pk=entry_id)
    entries.update(assigned_at=F("ended_at") - timedelta(seconds=within_s))


@pytest.mark.parametrize(
    ("earlier_s", "since_s", "is_busy"),
    [
        ([0.1], 1.0, True),
        ([0.1], 20.0, False),  # it has most likely ended
        ([0.1, 30.0, 0.1], 20.0, True),  # its function may take that long
        ([], 20.0, True),  # nobody knows how long its function takes
    ],
)
def test_agent_is_busy_with_a_cancelled_entry_for_as_long_as_its_function_took_lately(
    agent: ScriptedAgent,
    settings: Settings,
    earlier_s: list[float],
    since_s: float,
    is_busy: bool,
) -> None:
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 60.0
    for seconds in earlier_s:
        answered(agent, within_s=seconds)
    cancelled_while_assigned(agent, since_s=since_s)
    assert queue.is_busy(agent.native_pk) is is_busy
    assert queue.is_busy(agent.native_pk, agent.agent_id) is is_busy


def test_cancelled_entry_of_a_slow_function_has_no_longer_lease_than_before(
    agent: ScriptedAgent, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 60.0
    answered(agent, within_s=500.0)
    entry_id = cancelled_while_assigned(agent, since_s=0.0)
    expires_at = QueueEntry.objects.get(pk=entry_id).lease_expires_at
    assert expires_at is not None
    assert expires_at <= timezone.now() + timedelta(seconds=60)


def test_agent_that_asks_again_is_not_busy_with_its_cancelled_entry(
    agent: ScriptedAgent, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 60.0
    entry_id = cancelled_while_assigned(agent, since_s=0.0)
    ScriptedAgent(agent.client, agent.native_pk).acquire()
    assert queue.is_busy(agent.native_pk, agent.agent_id)
    agent.acquire()
    assert not queue.is_busy(agent.native_pk, agent.agent_id)
    assert state_of(entry_id) == "cancelled"


def test_agent_that_reports_progress_of_a_cancelled_entry_stays_busy(
    agent: ScriptedAgent, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 60.0
    answered(agent, within_s=0.1)
    entry_id = cancelled_while_assigned(agent, since_s=20.0)
    assert not queue.is_busy(agent.native_pk)
    assert agent.post(f"{entry_id}/update", progress=0.5).status_code == 200
    assert queue.is_busy(agent.native_pk)
    worked_too_long(entry_id)
    QueueEntry.objects.update(lease_expires_at=timezone.now())
    assert agent.post(f"{entry_id}/update", progress=0.6).status_code == 200
    assert not queue.is_busy(agent.native_pk)


@pytest.mark.parametrize("progress", [-0.1, 1.1, "0.5", None, True])
def test_update_with_a_wrong_progress_is_refused(agent: ScriptedAgent, progress: object) -> None:
    entry_id = enqueue(agent.native_pk)
    agent.acquire()
    assert agent.post(f"{entry_id}/update", progress=progress).status_code == 400


def test_agent_that_asks_again_loses_the_entry_that_it_had(agent: ScriptedAgent) -> None:
    first, second = enqueue(agent.native_pk), enqueue(agent.native_pk)
    agent.acquire()
    found = agent.acquire()
    assert found is not None
    assert found["ar_id"] == str(second)
    entry = QueueEntry.objects.get(pk=first)
    assert (entry.state, entry.error_code) == ("failed", "agent_lost")


@pytest.mark.parametrize("agent_id", ["", "x" * 32, "a" * 31, "a" * 33, 5, None])
def test_acquire_with_a_malformed_agent_id_is_refused(
    agent: ScriptedAgent, agent_id: object
) -> None:
    response = agent.post("acquire", request_category="batch", agent_id=agent_id)
    assert response.status_code == 400
    assert "agent_id" in response.json()


def test_acquire_with_an_unknown_category_is_refused(agent: ScriptedAgent) -> None:
    assert agent.post("acquire", request_category="urgent").status_code == 400


def test_first_poll_of_an_agent_makes_the_function_ready(agent: ScriptedAgent) -> None:
    assert registry.get(f"native-{agent.native_pk}").state == "missing"
    agent.acquire()
    assert registry.get(f"native-{agent.native_pk}").state == "ready"


def test_function_is_missing_after_its_agents_fell_silent(agent: ScriptedAgent) -> None:
    agent.acquire()
    presence.mark_lost()
    assert registry.get(f"native-{agent.native_pk}").state == "ready"
    silent = timezone.now() - timedelta(seconds=91)
    Function.objects.update(seen_at=silent)
    presence.mark_lost()
    found = registry.get(f"native-{agent.native_pk}")
    assert (found.state, found.missing_since) == ("missing", silent)
    Agent.objects.update(heard_at=silent)
    agent.acquire()
    assert registry.get(f"native-{agent.native_pk}").state == "ready"


def test_number_of_workers_follows_the_number_of_agents(agent: ScriptedAgent) -> None:
    agent.acquire()
    one = registry.get(f"native-{agent.native_pk}").workers
    second = ScriptedAgent(agent.client, agent.native_pk)
    second.acquire()
    assert registry.get(f"native-{agent.native_pk}").workers == 2 * one
    Agent.objects.filter(agent_id=second.agent_id).update(
        heard_at=timezone.now() - timedelta(seconds=presence.KNOWN_S + 1)
    )
    presence.mark_lost()
    assert registry.get(f"native-{agent.native_pk}").workers == one


def test_agents_that_start_at_once_are_all_counted(agent: ScriptedAgent, alice: User) -> None:
    native = NativeFunction.objects.get(pk=agent.native_pk)
    ready = threading.Barrier(8)

    def start(number: int) -> None:
        try:
            ready.wait()
            presence.note_heard(native, f"{number:032x}", alice.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get(f"native-{native.pk}").workers == presence.workers_for(8)


def test_old_entries_are_deleted(agent: ScriptedAgent) -> None:
    old, new = enqueue(agent.native_pk), enqueue(agent.native_pk)
    QueueEntry.objects.filter(pk=old).update(
        wanted_until=timezone.now() - timedelta(seconds=queue.KEPT_S + 1)
    )
    assert queue.delete_ended() == 1
    assert list(QueueEntry.objects.values_list("pk", flat=True)) == [new]


def test_deleted_function_is_not_found_by_its_agent(
    agent: ScriptedAgent, call: Callable[..., Any]
) -> None:
    enqueue(agent.native_pk)
    assert agent.client.delete(f"/api/functions/{agent.native_pk}").status_code == 204
    assert agent.post("acquire", request_category="batch").status_code == 404
    assert agent.client.delete(f"/api/functions/{agent.native_pk}").status_code == 404
    assert not NativeFunction.objects.exists()
    assert not QueueEntry.objects.exists()
    assert call().status_code == 404
