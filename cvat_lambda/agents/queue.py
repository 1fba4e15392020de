"""The queue of annotation requests, as conditional UPDATEs.

::

    queued ──acquire──▶ assigned ──complete──▶ done
       │                   │ ├─────fail──────▶ failed
       │                   │ └─lease expired─▶ failed (agent_lost), also after too long a time
       └──────cancel───────┴─────────────────▶ cancelled

The caller puts an entry on the queue and waits. A caller whose process died renews nothing, and
agents do not get its entry. If an agent is lost, the caller decides whether to try again: with a
new entry (`gateway.retry`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from cvat_lambda.agents import wakeups
from cvat_lambda.agents.models import WAITING, Category, EntryState, QueueEntry
from cvat_lambda.errors import NotFound, StateConflict

KEPT_S: Final = 600.0  # an ended entry is kept for so long, because agents repeat ``complete``
_CANDIDATES: Final = 8  # entries that an agent tries to get before it asks the database again
_RECENT: Final = 20  # ended entries that show how long an agent of a function works on one
_MARGIN_S: Final = 5.0  # beyond twice that time

# Codes of failed entries.
AGENT_FAILED: Final = "agent_failed"  # the agent said so
AGENT_LOST: Final = "agent_lost"  # it fell silent, worked too long, or asked for other work
ANSWER_INVALID: Final = "answer_invalid"  # its result is no JSON


class EntryNotFound(NotFound):
    """The annotation request was not found."""

    code = "annotation_request_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An entry that an agent has got."""

    entry_id: int
    params: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An entry as its caller sees it."""

    state: str
    agent_id: str
    lease_expires_at: datetime | None
    result: str
    error_code: str
    error_message: str
    function_seen_at: datetime  # the last sign of life of any agent of the function

    @property
    def is_lease_expired(self) -> bool:
        """Whether the agent that has the entry fell silent."""
        expires_at = self.lease_expires_at
        is_assigned = self.state == EntryState.ASSIGNED
        return is_assigned and expires_at is not None and expires_at < timezone.now()


def enqueue(
    native_pk: int,
    *,
    category: Category,
    params: dict[str, Any],
    pinned_to: str = "",
    wanted_s: float,
) -> int:
    """Add an entry that is wanted for so many seconds, and wake the agents; return its id.

    With ``pinned_to`` only the agent with this id gets the entry.
    """
    entry: QueueEntry = QueueEntry.objects.create(
        function_id=native_pk,
        category=category,
        params=params,
        pinned_to=pinned_to,
        wanted_until=_after(wanted_s),
    )
    wakeups.publish_work(native_pk, category)
    return entry.pk


def acquire(native_pk: int, agent_id: str, category: str, *, lease_s: float) -> Assignment | None:
    """Assign the oldest waiting entry of a category to an agent; None if there is none.

    An agent works on one entry at a time. An entry that it still has fails as ``agent_lost``. It
    works no longer on a cancelled one.
    """
    while True:
        mine = Q(state=EntryState.ASSIGNED) | Q(
            state=EntryState.CANCELLED, lease_expires_at__isnull=False
        )
        mine &= Q(agent_id=agent_id)
        free = Q(state=EntryState.QUEUED, category=category, wanted_until__gt=timezone.now())
        free &= Q(pinned_to="") | Q(pinned_to=agent_id)
        found = QueueEntry.objects.filter(mine | free, function_id=native_pk)
        rows = list(found.order_by("id").values_list("pk", "state", "params")[:_CANDIDATES])
        waiting = [(pk, params) for pk, state, params in rows if state == EntryState.QUEUED]
        for pk, state, _ in rows:
            if state == EntryState.ASSIGNED:
                _lose(pk, agent_id)
            elif state == EntryState.CANCELLED:
                _release(native_pk, pk, agent_id)
        for pk, params in waiting:
            now = timezone.now()
            taken = QueueEntry.objects.filter(pk=pk, state=EntryState.QUEUED).update(
                state=EntryState.ASSIGNED,
                agent_id=agent_id,
                assigned_at=now,
                lease_expires_at=now + timedelta(seconds=lease_s),
            )
            if taken:
                return Assignment(entry_id=pk, params=params)
        if not waiting:
            return None


def renew(
    native_pk: int,
    entry_id: int,
    agent_id: str,
    *,
    progress: float,
    lease_s: float,
    max_work_s: float,
) -> None:
    """Store the progress of an entry and renew its lease.

    An entry that was assigned more than ``max_work_s`` ago fails as ``agent_lost``. Raise
    EntryNotFound, StateConflict.
    """
    longest = _after(-max_work_s)
    held = _held(native_pk, entry_id, agent_id).filter(assigned_at__gte=longest)
    if held.update(progress=progress, lease_expires_at=_after(lease_s)):
        return
    cancelled = _held(native_pk, entry_id, agent_id, EntryState.CANCELLED)
    if cancelled.filter(assigned_at__gte=longest).update(lease_expires_at=_after(lease_s)):
        return
    sentence = f"the agent worked on this input for more than {max_work_s:g} s"
    if _lose(entry_id, agent_id, sentence, function_id=native_pk, assigned_at__lt=longest):
        raise StateConflict(f"{sentence}: it is given to another agent")
    _explain(native_pk, entry_id, agent_id)


def complete(native_pk: int, entry_id: int, agent_id: str, result: dict[str, Any]) -> None:
    """Store the result of an entry and wake its caller. A repetition changes nothing.

    Raise EntryNotFound, StateConflict; ValueError if the result holds a number that is not finite.
    """
    text = json.dumps(result, allow_nan=False, separators=(",", ":"))
    _end(native_pk, entry_id, agent_id, state=EntryState.DONE, result=text)


def fail(
    native_pk: int, entry_id: int, agent_id: str, *, message: str, code: str = AGENT_FAILED
) -> None:
    """Note that an agent could not answer an entry. A repetition changes nothing.

    Raise EntryNotFound, StateConflict.
    """
    _end(
        native_pk,
        entry_id,
        agent_id,
        state=EntryState.FAILED,
        error_code=code,
        error_message=message,
    )


def refuse_result(native_pk: int, entry_id: int, message: str) -> None:
    """Fail an assigned entry whose result is no JSON, so that its agent is not known."""
    held = QueueEntry.objects.filter(pk=entry_id, function_id=native_pk, state=EntryState.ASSIGNED)
    if held.update(
        state=EntryState.FAILED,
        ended_at=timezone.now(),
        error_code=ANSWER_INVALID,
        error_message=message,
    ):
        wakeups.publish_end(entry_id)


def expire(entry_id: int, agent_id: str) -> bool:
    """Fail an entry whose lease has expired; return False if it was renewed or has ended."""
    return _lose(entry_id, agent_id, lease_expires_at__lt=timezone.now())


def _lose(entry_id: int, agent_id: str, sentence: str = "", **conditions: Any) -> bool:
    """Fail an entry whose agent works on it no longer; return False if it has ended."""
    held = QueueEntry.objects.filter(
        pk=entry_id, agent_id=agent_id, state=EntryState.ASSIGNED, **conditions
    )
    lost = held.update(
        state=EntryState.FAILED,
        ended_at=timezone.now(),
        error_code=AGENT_LOST,
        error_message=sentence,
    )
    if lost:
        wakeups.publish_end(entry_id)
    return bool(lost)


def cancel(entry_id: int) -> None:
    """End an entry for which nobody waits any longer.

    An agent may still work on it, because it does not know that. It counts as busy until it answers
    or asks for other work. It may also have died, so that it counts as busy for no longer than its
    lease, and than twice the time that entries of its function took lately.
    """
    entries = QueueEntry.objects.filter(pk=entry_id)
    entries.filter(state__in=WAITING).update(state=EntryState.CANCELLED, ended_at=timezone.now())
    held = entries.filter(state=EntryState.CANCELLED, lease_expires_at__gt=timezone.now())
    for native_pk, assigned_at in held.values_list("function_id", "assigned_at"):
        longest = _longest_work(native_pk)
        if longest is not None and assigned_at is not None:
            until = assigned_at + 2 * longest + timedelta(seconds=_MARGIN_S)
            held.filter(lease_expires_at__gt=until).update(lease_expires_at=until)


def _longest_work(native_pk: int) -> timedelta | None:
    """Return the longest time that an agent worked on one of the last entries; None without any."""
    ended = QueueEntry.objects.filter(function_id=native_pk, state=EntryState.DONE)
    rows = ended.order_by("-id").values_list("assigned_at", "ended_at")[:_RECENT]
    times = [to - since for since, to in rows if since is not None and to is not None]
    return max(times, default=None)


def look(entry_id: int) -> Snapshot | None:
    """Return an entry as it is now; None if its function was deleted."""
    columns = (
        "state",
        "agent_id",
        "lease_expires_at",
        "result",
        "error_code",
        "error_message",
        "function__function__seen_at",
    )
    row = QueueEntry.objects.filter(pk=entry_id).values_list(*columns).first()
    return None if row is None else Snapshot(**dict(zip(Snapshot.__slots__, row, strict=True)))


def keep_wanted(entry_id: int, wanted_s: float) -> None:
    """Note that the caller of an entry still waits."""
    QueueEntry.objects.filter(pk=entry_id, state__in=WAITING).update(wanted_until=_after(wanted_s))


def forget_result(entry_id: int) -> None:
    """Delete the result of an entry, which its caller has read. The entry stays for a while."""
    QueueEntry.objects.filter(pk=entry_id).update(result="")


def is_busy(native_pk: int, agent_id: str = "") -> bool:
    """Return whether an agent, or with an empty id any agent, works on an entry now.

    The entry may be cancelled (see `cancel`).
    """
    held = QueueEntry.objects.filter(
        function_id=native_pk,
        state__in=(EntryState.ASSIGNED, EntryState.CANCELLED),
        lease_expires_at__gte=timezone.now(),
    )
    return bool((held.filter(agent_id=agent_id) if agent_id else held).exists())


def is_served(native_pk: int, *, within_s: float) -> bool:
    """Return whether an agent works on an entry now, or ended one within so many seconds.

    While an agent works it does not poll, so that nothing else is heard of it.
    """
    works = Q(state=EntryState.ASSIGNED, lease_expires_at__gte=timezone.now())
    ended = Q(state__in=(EntryState.DONE, EntryState.FAILED), ended_at__gte=_after(-within_s))
    entries = QueueEntry.objects.filter(works | ended & ~Q(error_code=AGENT_LOST))
    return bool(entries.filter(function_id=native_pk).exists())


def waiting_categories(native_pk: int) -> list[str]:
    """Return the categories of which at least one entry waits for an agent."""
    waiting = QueueEntry.objects.filter(
        function_id=native_pk, state=EntryState.QUEUED, wanted_until__gt=timezone.now()
    )
    return sorted(waiting.order_by().values_list("category", flat=True).distinct())


def delete_ended() -> int:
    """Delete old entries: ended ones, and those for which nobody waits. Return their number."""
    deleted, _ = QueueEntry.objects.filter(wanted_until__lt=_after(-KEPT_S)).delete()
    return int(deleted)


def _held(
    native_pk: int, entry_id: int, agent_id: str, state: EntryState = EntryState.ASSIGNED
) -> Any:
    return QueueEntry.objects.filter(
        pk=entry_id, function_id=native_pk, agent_id=agent_id, state=state
    )


def _end(native_pk: int, entry_id: int, agent_id: str, **changes: Any) -> None:
    held = _held(native_pk, entry_id, agent_id)
    if held.update(ended_at=timezone.now(), **changes):
        wakeups.publish_end(entry_id)
        return
    if not _release(native_pk, entry_id, agent_id):
        _explain(native_pk, entry_id, agent_id)


def _release(native_pk: int, entry_id: int, agent_id: str) -> bool:
    """Note that an agent works no longer on a cancelled entry; return False if it is another's."""
    cancelled = _held(native_pk, entry_id, agent_id, EntryState.CANCELLED)
    return bool(cancelled.update(lease_expires_at=None))


def _explain(native_pk: int, entry_id: int, agent_id: str) -> None:
    """Raise an error unless the agent had the entry, which ended in the meantime."""
    owners = QueueEntry.objects.filter(pk=entry_id, function_id=native_pk)
    owner = owners.values_list("agent_id", flat=True).first()
    if owner is None:
        raise EntryNotFound(f"annotation request {entry_id} was not found")
    if owner != agent_id:
        raise StateConflict(f"annotation request {entry_id} is not assigned to this agent")


def _after(seconds: float) -> datetime:
    moment: datetime = timezone.now() + timedelta(seconds=seconds)
    return moment
