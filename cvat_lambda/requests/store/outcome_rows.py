"""The outcomes of a request for a paginator, which finds a page without counting rows."""

from __future__ import annotations

from django.db.models import Sum
from django.utils.functional import cached_property

from cvat_lambda.requests.store.models import FrameStatus, Outcome, Request, Shard
from cvat_lambda.requests.store.queries import outcomes_of


class OutcomeRows:
    """The outcomes of a request by task and frame, of one status if it is given.

    The shards have the numbers of their outcomes, so that a page skips the tasks before it.
    """

    def __init__(self, request: Request, status: str | None = None) -> None:
        self._request = request
        self._status = status

    @cached_property
    def _numbers(self) -> list[tuple[int, int]]:
        """The tasks of the request in order, with the numbers of their outcomes."""
        if self._request.outcomes_pruned_at is not None:
            return []
        names = FrameStatus.values if self._status is None else [self._status]
        shards = Shard.objects.filter(request=self._request).order_by("task_id")
        rows = shards.values_list("task_id").annotate(*map(Sum, names))
        return [(task_id, sum(numbers)) for task_id, *numbers in rows]

    def count(self) -> int:
        """Return the number of outcomes."""
        return sum(number for _, number in self._numbers)

    def __getitem__(self, wanted: slice) -> list[Outcome]:
        """Return the outcomes at places in the list, which are counted from 0."""
        found: list[Outcome] = []
        first, end = wanted.start or 0, wanted.stop
        for task_id, number in self._numbers:
            if first < number and end > 0:
                of_task = outcomes_of(self._request, self._status).filter(task_id=task_id)
                found += of_task[max(0, first) : min(end, number)]
            first, end = first - number, end - number
        return found
