"""Where versions of CVAT differ, and where this room leans on more than its public functions.

Written against CVAT 2.54. Another version is made to fit here; docs/compatibility.md says which
ones were run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import crum  # type: ignore[import-not-found]
from cvat.apps.dataset_manager.task import JobAnnotation
from cvat.apps.engine import models
from cvat.apps.engine.frame_provider import SegmentFrameProvider
from cvat.apps.engine.media_extractors import RandomAccessIterator, ZipReader
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model

from cvat_lambda.engine.port import JobType

ORIGINAL: Final = models.FrameQuality.ORIGINAL


def has_field(model: type[Model], name: str) -> bool:
    """Whether this CVAT's table has a column."""
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True


# CVAT 2.54 has no scores; newer ones keep them with shapes and tags.
HAS_SCORE: Final = has_field(models.LabeledShape, "score")
HAS_TAG_SCORE: Final = has_field(models.LabeledImage, "score")

# Names of job types in any version, and the port's.
_JOB_TYPES: Final[dict[str, JobType]] = {
    "annotation": "annotation",
    "ground_truth": "ground_truth",
    "consensus_replica": "consensus_replica",
    "replica": "consensus_replica",
}


def job_type(value: object) -> JobType:
    """The port's word for a job's type."""
    return _JOB_TYPES[str(value)]


def read_chunk(segment: Any, number: int) -> BytesIO:
    """A chunk of a segment in original quality: a little video, or an archive of image files.

    CVAT's chunk worker makes it if the cache does not have it.
    """
    data = SegmentFrameProvider(segment).get_chunk(number, quality=ORIGINAL).data
    return data if isinstance(data, BytesIO) else BytesIO(data)


def images_in(chunk: BytesIO) -> RandomAccessIterator:
    """The files of an archive by position, as tuples whose first member is a BytesIO."""
    return RandomAccessIterator(ZipReader([chunk]))


def is_archive(chunk: BytesIO) -> bool:
    """Whether a chunk is an archive of image files, not a little video.

    The data's own word is no help: chunks of chosen frames, which ground-truth jobs have, are
    archives even in a video.
    """
    return bytes(chunk.getbuffer()[:4]) == b"PK\x03\x04"


class QuietJobAnnotation(JobAnnotation):  # type: ignore[misc]
    """CVAT's own writer of a job's annotations, that leaves dates of change to the caller.

    CVAT saves job, task and project after each write, and each save tells all their webhooks.
    """

    def _set_updated_date(self) -> None:
        return


def locked_jobs(job_ids: list[int]) -> list[Any]:
    """The rows of jobs with what CVAT's events say of them, locked until the commit."""
    jobs = models.Job.objects.select_related(
        "segment__task__project", "segment__task__organization"
    )
    # The job's own row: outer joins cannot be locked.
    return list(jobs.select_for_update(of=("self",)).filter(pk__in=job_ids).order_by("pk"))


@contextmanager
def in_the_name_of(user: Any) -> Iterator[None]:
    """CVAT's events and webhooks of what happens inside name this user."""
    if user is None or crum.get_current_user() is not None:
        yield
        return
    with crum.impersonate(user):
        yield


def serves_a_person() -> bool:
    """Whether this thread answers an HTTP request."""
    return crum.get_current_request() is not None
