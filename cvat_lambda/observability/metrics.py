"""Prometheus metrics, counted by receivers of the app's signals if prometheus_client is installed.

Each process counts for itself. If several processes serve (web processes, RQ workers, and the
processes that RQ forks for its jobs), set ``PROMETHEUS_MULTIPROC_DIR`` to a folder that is empty
when the first of them starts. `exposition` then sums over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.dispatch import receiver

from cvat_lambda import signals

if TYPE_CHECKING:
    from cvat_lambda.errors import LambdaError

try:
    import prometheus_client as prometheus
    from prometheus_client import values

    from cvat_lambda.observability import metric_files
except ImportError:  # the app runs without it
    prometheus = None  # type: ignore[assignment]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

if prometheus is not None:
    if (_folder := metric_files.folder()) is not None:
        _folder.mkdir(parents=True, exist_ok=True)
        values.ValueClass = values.MultiProcessValue(metric_files.identity)

    REQUESTS = prometheus.Counter(
        "cvat_lambda_requests", "Background requests that ended", ["function", "status"]
    )
    FRAMES = prometheus.Counter(
        "cvat_lambda_frames", "Frames of background requests that ended", ["outcome"]
    )
    SHAPES = prometheus.Counter("cvat_lambda_shapes", "Shapes written by background requests")
    CALLS = prometheus.Histogram(
        "cvat_lambda_call_seconds",
        "Calls of people who wait, the function's time included",
        ["function", "kind", "result"],
        buckets=_SECONDS,
    )
    INVOCATIONS = prometheus.Histogram(
        "cvat_lambda_invocation_seconds",
        "HTTP invocations of functions",
        ["function", "result"],
        buckets=_SECONDS,
    )

    @receiver(signals.request_started)
    def join_files(**kwargs: object) -> None:
        """Merge the files of ended processes: RQ forks a process for each job."""
        place = metric_files.folder()
        if place is not None:
            metric_files.add_up_ended(place)

    @receiver(signals.request_finished)
    def count_request(request: Any, **kwargs: object) -> None:
        REQUESTS.labels(request.function_id, request.status).inc()

    @receiver(signals.frames_written)
    def count_frames(counts: Mapping[str, int], shapes: int, **kwargs: object) -> None:
        for outcome, number in counts.items():
            FRAMES.labels(outcome).inc(number)
        SHAPES.inc(shapes)

    @receiver(signals.function_called)
    def time_call(
        function_id: str, kind: str, duration_s: float, error: LambdaError | None, **kwargs: object
    ) -> None:
        result = error.code if error is not None else "ok"
        CALLS.labels(function_id, kind, result).observe(duration_s)

    @receiver(signals.function_invoked)
    def time_invocation(
        function_id: str, duration_s: float, error: LambdaError | None, **kwargs: object
    ) -> None:
        result = error.code if error is not None else "ok"
        INVOCATIONS.labels(function_id, result).observe(duration_s)


def registry() -> Any:
    """Return what to collect the metrics of all processes from; None without prometheus_client."""
    if prometheus is None:
        return None
    place = metric_files.folder()
    if place is None:
        return prometheus.REGISTRY
    found = prometheus.CollectorRegistry()
    found.register(metric_files.SumCollector(place))
    return found


def exposition() -> bytes:
    """Return the metrics in Prometheus' text format; empty if the client library is missing."""
    found = registry()
    return b"" if found is None else prometheus.generate_latest(found)
