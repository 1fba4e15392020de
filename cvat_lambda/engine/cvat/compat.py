"""Differences between versions of CVAT, and uses of CVAT's internal classes.

Written against CVAT 2.54. `docs/compatibility.md` lists the versions that were run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import crum  # type: ignore[import-not-found]
import rq
from cvat.apps import lambda_manager
from cvat.apps.dataset_manager.task import JobAnnotation
from cvat.apps.engine import models
from cvat.apps.engine.frame_provider import SegmentFrameProvider
from cvat.apps.engine.media_extractors import RandomAccessIterator, ZipReader
from cvat.apps.engine.rq import BaseRQMeta
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model

from cvat_lambda.engine.port import JobType

ORIGINAL: Final = models.FrameQuality.ORIGINAL


def has_field(model: type[Model], name: str) -> bool:
    """Return whether the model has this field in the installed version of CVAT."""
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True


# CVAT 2.54 has no scores. Newer versions store them with shapes.
HAS_SCORE: Final = has_field(models.LabeledShape, "score")
HAS_TAG_SCORE: Final = has_field(models.LabeledImage, "score")

_RULES_OF_LAMBDA_MANAGER: Final = Path(lambda_manager.__file__).parent / "rules"
# The folder with CVAT's own rules of requests; None before CVAT 2.72, which has none.
REQUEST_RULES: Final[Path | None] = (
    _RULES_OF_LAMBDA_MANAGER
    if (_RULES_OF_LAMBDA_MANAGER / "lambda_requests.rego").is_file()
    else None
)

# The job types of all versions of CVAT, and the port's names for them.
_JOB_TYPES: Final[dict[str, JobType]] = {
    "annotation": "annotation",
    "ground_truth": "ground_truth",
    "consensus_replica": "consensus_replica",
    "replica": "consensus_replica",
}


def job_type(value: object) -> JobType:
    """Return the port's name of a job's type."""
    return _JOB_TYPES[str(value)]


def read_chunk(segment: Any, number: int) -> BytesIO:
    """Return a chunk of a segment in original quality: a video or an archive of image files.

    CVAT's chunk worker makes it if it is not in the cache.
    """
    data = SegmentFrameProvider(segment).get_chunk(number, quality=ORIGINAL).data
    return data if isinstance(data, BytesIO) else BytesIO(data)


def images_in(chunk: BytesIO) -> RandomAccessIterator:
    """Return the files of an archive by position: tuples whose first item is a BytesIO."""
    return RandomAccessIterator(ZipReader([chunk]))


def is_archive(chunk: BytesIO) -> bool:
    """Return whether a chunk is an archive of image files.

    The chunk type of the task does not decide this: a ground-truth job has archives even if the
    task is a video.
    """
    return bytes(chunk.getbuffer()[:4]) == b"PK\x03\x04"


class JobAnnotationWithoutTouch(JobAnnotation):  # type: ignore[misc]
    """CVAT's writer of a job's annotations without its update of the job, task and project.

    CVAT saves all three after each write, and each save triggers their webhooks.
    """

    def _set_updated_date(self) -> None:
        return


def locked_jobs(job_ids: list[int]) -> list[Any]:
    """Lock jobs until the commit. Return them with the related rows that CVAT's events read."""
    jobs = models.Job.objects.select_related(
        "segment__task__project", "segment__task__organization"
    )
    # Only the rows of the jobs: PostgreSQL cannot lock the nullable side of an outer join.
    return list(jobs.select_for_update(of=("self",)).filter(pk__in=job_ids).order_by("pk"))


@contextmanager
def impersonate(user: Any) -> Iterator[None]:
    """Make CVAT's events and webhooks name this user for changes inside the block.

    In an RQ job whose metadata name a user, nothing is changed. There CVAT takes the user and the
    HTTP request from the metadata. For another user it would serialize the changes for that HTTP
    request, and the metadata hold too little of it.
    """
    if user is None or crum.get_current_user() is not None or _rq_job_names_a_user():
        yield
        return
    with crum.impersonate(user):
        yield


def _rq_job_names_a_user() -> bool:
    job = rq.get_current_job()
    return job is not None and BaseRQMeta.for_job(job).user is not None


def in_http_request() -> bool:
    """Return whether this thread handles an HTTP request."""
    return crum.get_current_request() is not None
