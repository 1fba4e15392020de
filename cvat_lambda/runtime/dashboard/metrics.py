"""Metrics of all functions in Prometheus' text format, under the names of Nuclio's processor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from cvat_lambda.runtime.deploy.deployment import Deployment

_PREFIX: Final = "nuclio_processor"
Row = tuple[dict[str, str], float]


async def exposition(deployments: Iterable[Deployment]) -> str:
    """Return the metrics of the functions that have a processor."""
    listed = list(deployments)
    answers = await asyncio.gather(*(item.statistics() for item in listed))
    known = [
        (_labels(item), counters)
        for item, counters in zip(listed, answers, strict=True)
        if counters is not None
    ]
    families = [_function_states(listed)]
    families += [_family(name, kind, text, known, read) for name, kind, text, read in _FAMILIES]
    return "\n".join(families) + "\n"


def _labels(deployment: Deployment) -> dict[str, str]:
    trigger = deployment.config.trigger.name if deployment.config is not None else ""
    return {
        "function": deployment.name,
        "namespace": deployment.namespace,
        "trigger_kind": "http",
        "trigger_id": trigger,
    }


def _function_states(deployments: list[Deployment]) -> str:
    rows: list[Row] = [({"function": item.name, "state": item.state}, 1) for item in deployments]
    return _format("cvat_lambda_runtime_function_state", "gauge", "State of a function", rows)


def _results(counters: dict[str, Any]) -> list[Row]:
    return [
        ({"result": "success"}, counters["succeeded"]),
        ({"result": "failure"}, counters["failed"]),
    ]


def _allocations(counters: dict[str, Any]) -> list[Row]:
    return [
        ({"result": "success_immediate"}, counters["given_at_once"]),
        ({"result": "success_after_wait"}, counters["given_after_wait"]),
        ({"result": "error_timeout"}, counters["refused"]),
    ]


def _single(key: str) -> Any:
    def read(counters: dict[str, Any]) -> list[Row]:
        return [({}, counters[key])]

    return read


def _per_worker(key: str) -> Any:
    def read(counters: dict[str, Any]) -> list[Row]:
        return [
            ({"worker_index": str(number)}, worker[key])
            for number, worker in enumerate(counters["workers"])
        ]

    return read


_FAMILIES: Final = (
    ("handled_events_total", "counter", "Events by result", _results),
    ("worker_allocation_total", "counter", "Searches for a worker by result", _allocations),
    ("worker_allocation_count", "counter", "Searches for a worker", _single("allocations")),
    (
        "worker_allocation_wait_duration_milliseconds_sum",
        "counter",
        "Time that calls waited for a worker",
        _single("wait_ms_sum"),
    ),
    (
        "worker_allocation_workers_available_percentage",
        "counter",
        "Sum of the percentages of free workers, one a search",
        _single("available_percent_sum"),
    ),
    (
        "handled_events_duration_milliseconds_sum",
        "counter",
        "Time in the handler",
        _per_worker("duration_ms_sum"),
    ),
    (
        "handled_events_duration_milliseconds_count",
        "counter",
        "Events that reached the handler",
        _per_worker("events"),
    ),
    ("worker_restarts_total", "counter", "Restarts of workers", _per_worker("restarts")),
)


def _family(name: str, kind: str, text: str, known: list[Any], read: Any) -> str:
    rows = [
        ({**labels, **more}, value) for labels, counters in known for more, value in read(counters)
    ]
    return _format(f"{_PREFIX}_{name}", kind, text, rows)


def _format(name: str, kind: str, text: str, rows: list[Row]) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in rows:
        inside = ",".join(f'{key}="{_escaped(item)}"' for key, item in labels.items())
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
