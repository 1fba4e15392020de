"""Invoke a native function: put an entry on its queue, and wait until an agent has answered it.

The body of the invocation holds the parameters of the entry: task and frame by their numbers, and
no image. The wait is bounded. An interactive call ends at its deadline, or after the function's
availability time limit if no agent takes it. A background invocation waits while agents take and
end entries. Otherwise it waits for ``CVAT_LAMBDA_AGENT_MAX_WORK_S`` if agents send heartbeats, and
for ``CVAT_LAMBDA_COLD_START_S`` if there are none.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from cvat_lambda.agents import presence, queue
from cvat_lambda.agents.models import Category, EntryState
from cvat_lambda.agents.params import TRACK_STEP
from cvat_lambda.agents.wakeups import get_wakeups
from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionAnswerInvalid,
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionNotFound,
    FunctionRejected,
    FunctionTimeout,
    FunctionUnavailable,
    InvalidRequest,
    LambdaError,
)
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.agent_tracker import AgentAnswer, step
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.clean_text import clean_line
from cvat_lambda.gateway.error_rules import AgentLost

_POLL_S: Final = 1.0  # poll interval where a wake-up reports the end of an entry
_POLL_ALONE_S: Final = 0.1  # poll interval without wake-ups
_WANTED_S: Final = 45.0  # an entry that its caller has not renewed for this long is not assigned
_RENEW_S: Final = 15.0
_PINNED_S: Final = 15.0  # an idle agent that has not taken its entry for this long is lost
# An agent's message after the process that runs the model has ended. The agent continues.
_WORKER_CRASHED: Final = "Worker process crashed"
_BAD_REQUEST: Final = "Invalid annotation request: "


@dataclass(slots=True, kw_only=True)
class AgentCall:
    """One invocation of a native function. It may need several entries."""

    spec: FunctionSpec
    native_pk: int
    interactive: bool
    timeout_s: float  # of an interactive call; a background one waits while leases are renewed
    cancel: CancelToken
    _begun_at: float = field(default_factory=time.monotonic)

    def ask(self, params: dict[str, Any], *, pinned_to: str = "") -> AgentAnswer:
        """Put an entry on the queue and return its result.

        Raise FunctionUnavailable, FunctionBusy, FunctionTimeout, AgentLost, FunctionFailed,
        FunctionAnswerInvalid, FunctionNotFound, Cancelled.
        """
        self.cancel.check()
        entry_id = queue.enqueue(
            self.native_pk,
            category=Category.INTERACTIVE if self.interactive else Category.BATCH,
            params=params,
            pinned_to=pinned_to,
            wanted_s=_WANTED_S,
        )
        try:
            return self._wait(entry_id, pinned_to)
        except BaseException:
            queue.cancel(entry_id)
            raise

    def _wait(self, entry_id: int, pinned_to: str) -> AgentAnswer:
        queued_at = renewed_at = time.monotonic()
        wakeups = get_wakeups()
        with wakeups.end_of(entry_id) as ended, self.cancel.interrupting(ended.set):
            while True:
                ended.wait(_POLL_S if wakeups.is_connected else _POLL_ALONE_S)
                ended.clear()
                self.cancel.check()
                now = time.monotonic()
                entry = queue.look(entry_id)
                if entry is None:
                    raise FunctionNotFound(f"function '{self.spec.id}' was deleted")
                if entry.state not in (EntryState.QUEUED, EntryState.ASSIGNED):
                    return self._answer(entry_id, entry)
                self._check(entry_id, entry, now - queued_at, pinned_to)
                if now - renewed_at >= _RENEW_S:
                    renewed_at = now
                    queue.keep_wanted(entry_id, _WANTED_S)

    def _check(self, entry_id: int, entry: queue.Snapshot, waited_s: float, pinned_to: str) -> None:
        """Raise an error if there is no reason to wait any longer."""
        if entry.is_lease_expired and queue.expire(entry_id, entry.agent_id):
            presence.forget(self.native_pk, entry.agent_id)
            self._raise_lost()
        if self.interactive and time.monotonic() - self._begun_at >= self.timeout_s:
            raise FunctionTimeout(f"function '{self.spec.id}' did not answer in time")
        if entry.state == EntryState.QUEUED:
            self._check_agents(entry, waited_s, pinned_to)

    def _check_agents(self, entry: queue.Snapshot, waited_s: float, pinned_to: str) -> None:
        is_present = presence.is_present(entry.function_seen_at)
        if pinned_to:
            limit_s = _PINNED_S
        elif self.interactive:
            limit_s = self.spec.availability_timeout_s if is_present else _POLL_S
        else:
            limit_s = settings.COLD_START_S
        if waited_s < limit_s:
            return
        if pinned_to and not queue.is_busy(self.native_pk, pinned_to):
            self._raise_lost()
        if self.interactive and queue.is_busy(self.native_pk):
            raise FunctionBusy(f"all agents of function '{self.spec.id}' are busy")
        if not self.interactive and is_present:
            # An agent that hangs may still keep its event stream open.
            limit_s = max(limit_s, settings.AGENT_MAX_WORK_S)
            if waited_s < limit_s:
                return
        within_s = settings.AGENT_MISSING_AFTER_S
        if self.interactive or not queue.is_served(self.native_pk, within_s=within_s):
            raise FunctionUnavailable(
                f"no agent of function '{self.spec.id}' took the request within {limit_s:g} s:"
                " its owner starts one with 'cvat-cli function run-agent'"
            )

    def _answer(self, entry_id: int, entry: queue.Snapshot) -> AgentAnswer:
        if entry.state == EntryState.DONE:
            queue.forget_result(entry_id)
            return AgentAnswer(result=json.loads(entry.result), agent_id=entry.agent_id)
        if entry.error_code == queue.AGENT_LOST:
            self._raise_lost(entry.error_message)
        if entry.error_code == queue.ANSWER_INVALID:
            raise FunctionAnswerInvalid(f"function '{self.spec.id}': {entry.error_message}")
        raise self._failed(entry.error_message)

    def _failed(self, message: str) -> LambdaError:
        if message == _WORKER_CRASHED:
            return FunctionCrashed(f"function '{self.spec.id}' ended while it worked on this input")
        if message.startswith(_BAD_REQUEST):
            reason = clean_line(message.removeprefix(_BAD_REQUEST))
            return FunctionRejected(f"function '{self.spec.id}' refused the input: {reason}")
        reason = clean_line(message)
        return FunctionFailed(
            f"function '{self.spec.id}' failed{f': {reason}' if reason else ''}{_hint(message)}"
        )

    def _raise_lost(self, sentence: str = "") -> NoReturn:
        sentence = sentence or "the agent that had this input is lost"
        raise AgentLost(f"function '{self.spec.id}': {sentence}")


def _hint(message: str) -> str:
    """Return a hint for an error that this server may have caused by its answer to the agent."""
    if message in ("Received HTTP status 403", "Received HTTP status 404"):
        return "; the account of its agent may not have the right to view the task"
    return ""


def native_pk(spec: FunctionSpec) -> int:
    """Return the integer id of a native function."""
    return int(spec.id.removeprefix("native-"))


def invoke_agent(
    spec: FunctionSpec,
    body: bytes,
    *,
    interactive: bool,
    timeout_s: float,
    cancel: CancelToken | None,
) -> Any:
    """Invoke a native function; return its answer in the form of the function's kind."""
    params = json.loads(body)
    if "type" not in params:
        raise InvalidRequest(
            f"function '{spec.id}' is run by agents, which read frames of tasks only:"
            " call it for a frame"
        )
    call = AgentCall(
        spec=spec,
        native_pk=native_pk(spec),
        interactive=interactive,
        timeout_s=timeout_s,
        cancel=cancel or CancelToken(),
    )
    if params["type"] == TRACK_STEP:
        return step(call, params)
    return call.ask(params).result
