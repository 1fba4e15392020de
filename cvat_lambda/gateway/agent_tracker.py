"""One step of a native tracker, by the contract of other trackers.

The contract gives a shape for each object that starts, and a state for each other one. An agent
takes the two in separate entries: ``init_tracking`` and ``track``. It keeps the state of an object
in its memory and answers a handle. So a state here is the handle and the agent that has it, and
``track`` is an entry for this agent only. If the agent is lost, or has lost the state, the step
raises FunctionStateUnknown, and the caller starts the object anew from its last known shape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cvat_lambda.agents import params as agent_params
from cvat_lambda.errors import FunctionAnswerInvalid, FunctionRejected, FunctionStateUnknown
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.error_rules import AgentLost

_EXPIRED: Final = "possibly expired"  # how the message of an unknown handle ends, cvat-cli 2.80


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """The result of an entry, and the agent that gave it."""

    result: dict[str, Any]
    agent_id: str


class Asker(Protocol):
    """Puts entries on the queue of a function."""

    spec: FunctionSpec

    def ask(self, params: dict[str, Any], *, pinned_to: str = "") -> AgentAnswer: ...


def step(asker: Asker, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"shapes", "states"}``, one of each an object. ``params`` is a `track_step`.

    Raise FunctionStateUnknown with the indices of the objects, FunctionAnswerInvalid, and what
    ``ask`` raises.
    """
    task_id, frame, starts = params["task"], params["frame"], params["shapes"]
    states: list[Any] = list(params["states"]) or [None] * len(starts)
    shapes: list[Any] = list(starts)
    by_agent: dict[str, list[int]] = defaultdict(list)
    for index, start in enumerate(starts):
        if start is None:
            by_agent[_agent_of(states[index])].append(index)
    unknown: list[int] = []
    for agent_id, indices in by_agent.items():
        handles = [_handle_of(states[index]) for index in indices]
        found = _track(asker, agent_params.track(task_id, frame, handles), agent_id)
        if found is None:
            unknown += indices
            continue
        for index, shape in zip(indices, found, strict=True):
            shapes[index] = shape
    if unknown:
        raise FunctionStateUnknown(
            f"function '{asker.spec.id}': the agent that kept the states ended or restarted",
            objects=sorted(unknown),
        )
    new = [index for index, start in enumerate(starts) if start is not None]
    if new:
        request = agent_params.init_tracking(task_id, frame, [starts[index] for index in new])
        answer = asker.ask(request)
        for index, handle in zip(
            new, _list_of(asker, answer.result, "states", len(new)), strict=True
        ):
            if not isinstance(handle, str):
                raise FunctionAnswerInvalid(
                    f"function '{asker.spec.id}': item {index}, field 'states': expected text"
                )
            states[index] = {"agent": answer.agent_id, "handle": handle}
    return {"shapes": shapes, "states": states}


def _track(asker: Asker, request: dict[str, Any], agent_id: str) -> list[Any] | None:
    """Return the shapes of the objects; None if the agent does not have their states any more."""
    if not agent_id:
        return None
    try:
        answer = asker.ask(request, pinned_to=agent_id)
    except AgentLost:
        return None
    except FunctionRejected as exc:
        if not exc.message.endswith(_EXPIRED):
            raise
        return None
    return _list_of(asker, answer.result, "shapes", len(request["states"]))


def _list_of(asker: Asker, result: Mapping[str, Any], name: str, expected: int) -> list[Any]:
    values = result.get(name)
    if not isinstance(values, list) or len(values) != expected:
        raise FunctionAnswerInvalid(
            f"function '{asker.spec.id}': field '{name}': expected an array of {expected}"
        )
    return values


def _agent_of(state: Any) -> str:
    """Return the agent that has the state; "" if no agent has the state."""
    agent_id = state.get("agent") if isinstance(state, dict) else None
    return agent_id if isinstance(agent_id, str) and _handle_of(state) else ""


def _handle_of(state: Any) -> str:
    handle = state.get("handle") if isinstance(state, dict) else None
    return handle if isinstance(handle, str) else ""
