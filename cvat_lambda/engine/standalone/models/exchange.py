"""Exports and imports of annotations, which the API shows as background requests."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from cvat_lambda.engine.standalone.models.tasks import Job, Task
from cvat_lambda.engine.standalone.models.uploads import RequestStatus


class ExchangeKind(models.TextChoices):
    EXPORT = "export"
    IMPORT = "import"


class Exchange(models.Model):
    """An export of annotations to a file, or an import from one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=8, choices=ExchangeKind.choices)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")
    job = models.ForeignKey(Job, null=True, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    format = models.CharField(max_length=64)
    with_images = models.BooleanField(default=False)  # of an export
    status = models.CharField(
        max_length=16, choices=RequestStatus.choices, default=RequestStatus.QUEUED
    )
    progress = models.FloatField(default=0.0)  # in [0, 1]
    message = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    seen_at = models.DateTimeField(null=True, editable=False)  # last heartbeat

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.kind} of task #{self.task_id} as {self.format}: {self.status}"

    @property
    def rq_id(self) -> str:
        """Return the id under which clients ask for it."""
        target = f"task&target_id={self.task_id}"
        if self.job_id is not None:
            target = f"job&target_id={self.job_id}"
        return f"action={self.kind}&target={target}&id={self.pk.hex}"

    @property
    def file_name(self) -> str:
        """Return the name of the exported file."""
        target = f"task_{self.task_id}" if self.job_id is None else f"job_{self.job_id}"
        form = "".join(c if c.isalnum() else "_" for c in self.format.lower()).strip("_")
        return f"{target}_{form}.zip"
