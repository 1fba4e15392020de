"""Which agents a native function has, and whether any of them was heard of lately.

An agent polls every 60 s, or every 10 min while it has an event stream. The event stream does not
say which agent opened it. So an open stream counts for the function, and a poll for the agent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.agents.models import Agent, EntryState, NativeFunction, QueueEntry
from cvat_lambda.conf import settings
from cvat_lambda.functions.models import MISSING, NATIVE, READY, Function
from cvat_lambda.functions.refresh import mark_missing
from cvat_lambda.prepared import PreparedQuery

PRECISION_S: Final = 10.0  # the time of the last sign of life is written at most this often
# Longer than 10 min and 15 %, the longest time between two polls of `cvat-cli` 2.80.
KNOWN_S: Final = 720.0
_AHEAD: Final = 2  # entries that wait in the queue for each agent, so that none has to idle


_HEARD_AT: PreparedQuery[tuple[datetime]] = PreparedQuery(
    lambda function_id, agent_id: (
        Agent.objects.filter(function_id=function_id, agent_id=agent_id)
        .values_list("heard_at")
        .order_by()
    ),
    int,
    str,
)


def workers_for(agents: int) -> int:
    """Return how many entries of a function with so many agents are on the queue at once."""
    return max(1, agents) * (1 + _AHEAD)


def note_heard(native: NativeFunction, agent_id: str, user_id: int) -> None:
    """Note a sign of life of an agent."""
    now = timezone.now()
    agents = Agent.objects.filter(function=native, agent_id=agent_id)
    found = _HEARD_AT.first(native.pk, agent_id)
    heard_at = None if found is None else found[0]
    if heard_at is not None and _is_recent(heard_at, now, PRECISION_S):
        return
    if heard_at is None or not agents.update(heard_at=now):
        Agent.objects.get_or_create(
            function=native, agent_id=agent_id, defaults={"user_id": user_id, "heard_at": now}
        )
    _note_function(native.pk, now)
    if heard_at is None or not _is_recent(heard_at, now, KNOWN_S):
        _count_agents(native.pk)


def note_watched(natives: Collection[int]) -> None:
    """Note that event streams of these functions are open."""
    now = timezone.now()
    for pk in natives:
        _note_function(pk, now)


def forget(native_pk: int, agent_id: str) -> None:
    """Delete an agent that lost its lease. It returns as soon as it polls."""
    if Agent.objects.filter(function_id=native_pk, agent_id=agent_id).delete()[0]:
        _count_agents(native_pk)


def mark_lost() -> None:
    """Forget agents that were not heard of for long, and mark functions without any ``missing``.

    An agent that works on an entry does not poll: the lease of the entry shows that it is there.
    """
    now = timezone.now()
    lost = Agent.objects.filter(heard_at__lt=now - timedelta(seconds=KNOWN_S))
    natives = set(lost.values_list("function_id", flat=True))
    if natives:
        lost.delete()
    for pk in natives:
        _count_agents(pk)
    silent = now - timedelta(seconds=settings.AGENT_MISSING_AFTER_S)
    busy = QueueEntry.objects.filter(state=EntryState.ASSIGNED, lease_expires_at__gte=now)
    mark_missing(
        Function.objects.filter(platform=NATIVE, seen_at__lt=silent)
        .exclude(state=MISSING)
        .exclude(native__in=busy.values("function")),
        message="no agent of the function was heard of lately",
    )


def is_present(seen_at: datetime) -> bool:
    """Return whether an agent was heard of lately, by the ``seen_at`` of its function."""
    return _is_recent(seen_at, timezone.now(), settings.AGENT_MISSING_AFTER_S)


def known_agents(native_pk: int) -> Iterable[Any]:
    """Return the agents that were heard of, the longest known first."""
    since = timezone.now() - timedelta(seconds=KNOWN_S)
    return Agent.objects.filter(function_id=native_pk, heard_at__gte=since)


def _note_function(native_pk: int, now: datetime) -> None:
    functions = Function.objects.filter(native=native_pk)
    functions.update(seen_at=now, checked_at=now)
    row = functions.filter(state=MISSING).first()
    if row is None:
        return
    row.state, row.message = READY, ""
    row.save(update_fields=["state", "message"])
    signals.function_state_changed.send_robust(
        sender=Function, function_id=row.pk, before=MISSING, after=READY
    )


def _count_agents(native_pk: int) -> None:
    """Let the concurrency limit of the function follow the number of its agents.

    Agents may come at once. Each process counts again after it has stored a number, so that the
    last number stored counts all agents.
    """
    while True:
        row = Function.objects.filter(native=native_pk).first()
        if row is None:
            return
        workers = workers_for(Agent.objects.filter(function_id=native_pk).count())
        trigger = row.metadata["spec"]["triggers"]["http"]
        if trigger["numWorkers"] == workers:
            return
        trigger["numWorkers"] = workers
        row.save(update_fields=["metadata"])


def _is_recent(moment: datetime, now: datetime, seconds: float) -> bool:
    return moment >= now - timedelta(seconds=seconds)
