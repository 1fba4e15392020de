"""How often a function was invoked and how long that took, from the metrics of all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cvat_lambda.observability import metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationTimes:
    """Invocations of one function since the metrics began."""

    count: int
    errors: int
    p50_s: float | None  # None: no invocation, or slower than the last bucket
    p95_s: float | None


def invocation_times(function_id: str) -> InvocationTimes | None:
    """Return the times of a function's invocations; None if no metrics are kept."""
    registry = metrics.registry()
    if registry is None:
        return None
    total = errors = 0.0
    buckets: dict[float, float] = {}
    for metric in registry.collect():
        if metric.name != "cvat_lambda_invocation_seconds":
            continue
        for sample in metric.samples:
            if sample.labels.get("function") != function_id:
                continue
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
            elif sample.name.endswith("_count"):
                total += sample.value
                errors += sample.value if sample.labels.get("result") != "ok" else 0.0
    ordered = sorted(buckets.items())
    return InvocationTimes(
        count=int(total),
        errors=int(errors),
        p50_s=quantile(ordered, 0.5),
        p95_s=quantile(ordered, 0.95),
    )


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Estimate a quantile from cumulative buckets (upper bound, count), as Prometheus does.

    Values are taken to be spread evenly within a bucket. Return None if the quantile lies above the
    last bound, or if there are no values.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    wanted = share * total
    below_bound, below_count = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return None
            inside = count - below_count
            part = (wanted - below_count) / inside if inside > 0 else 1.0
            return below_bound + (bound - below_bound) * part
        below_bound, below_count = bound, count
    return None


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return a percentile of a list of values, None of an empty one."""
    ordered: list[Any] = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
