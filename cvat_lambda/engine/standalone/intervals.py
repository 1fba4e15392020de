"""The intervals of audio that clients send with annotations. They are kept, and nothing else.

An interval belongs to the task or to the job to which it was sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db.models import QuerySet

from cvat_lambda.annotations.types import Interval
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.standalone import models


def rows(task_id: int, job_id: int | None) -> QuerySet[models.LabeledInterval]:
    """Return the intervals of a task, or of one of its jobs."""
    job = {"job_id": job_id} if job_id is not None else {"job_id__isnull": True}
    return models.LabeledInterval.objects.filter(task_id=task_id, **job)


def read(task_id: int, job_id: int | None) -> tuple[Interval, ...]:
    """Return the intervals of a task, or of one of its jobs, in order of id."""
    return tuple(_interval(row) for row in rows(task_id, job_id))


def add(task_id: int, job_id: int | None, given: Sequence[Interval]) -> tuple[Interval, ...]:
    """Store intervals under new ids."""
    made = models.LabeledInterval.objects.bulk_create(
        models.LabeledInterval(task_id=task_id, job_id=job_id, extra=interval.extra)
        for interval in given
    )
    return tuple(_interval(row) for row in made)


def remove(task_id: int, job_id: int | None, given: Collection[Interval]) -> None:
    """Delete the intervals with these ids."""
    if given:
        ids = [interval.id for interval in given if interval.id is not None]
        rows(task_id, job_id).filter(pk__in=ids_subquery(ids)).delete()


def _interval(row: models.LabeledInterval) -> Interval:
    return Interval(id=row.pk, extra=row.extra)
