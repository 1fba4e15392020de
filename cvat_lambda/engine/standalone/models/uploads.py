"""Uploads of a task's frames, which the API shows as background requests."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from cvat_lambda.engine.standalone.models.tasks import Task


class RequestStatus(models.TextChoices):
    QUEUED = "queued"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"


class DataRequest(models.Model):
    """An upload that becomes a task's frames."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="data_requests")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    status = models.CharField(
        max_length=16, choices=RequestStatus.choices, default=RequestStatus.QUEUED
    )
    message = models.TextField(blank=True, default="")
    parameters = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    seen_at = models.DateTimeField(null=True, editable=False)  # last heartbeat of the processing

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"upload for task #{self.task_id}: {self.status}"

    @property
    def rq_id(self) -> str:
        """Return the id under which clients ask for it."""
        return f"action=create&target=task&target_id={self.task_id}&id={self.pk.hex}"
