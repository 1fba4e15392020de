"""The tables of a request: its shards, the outcome of each frame, and what it added.

The database holds the state. Redis only carries the ids of shards to workers and may be flushed.
Every state change is a conditional UPDATE.

Transactions lock rows in this order, so that they cannot deadlock:

1. `ScopeGuard` of the tasks, ascending (`locks.lock_tasks`);
2. `Shard`, ascending by id: one shard by `Lease.fence`, or several by `locks.lock_shards`;
3. the engine's rows, in `Engine.hold_shapes` and `Engine.apply`. The rows below may be read before
   this step, and are written after it;
4. `FunctionVersion`, `Outcome`, `Provenance`, `MergedRectangle`;
5. `Request`.
"""

from __future__ import annotations

import secrets
from typing import ClassVar

from django.conf import settings as django_settings
from django.db import models
from django.utils import timezone


def new_request_id() -> str:
    """A random id that tells nothing and cannot be guessed."""
    return f"req-{secrets.token_hex(12)}"


class Status(models.TextChoices):
    """The life of a request, and of a shard."""

    QUEUED = "queued"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (Status.QUEUED, Status.STARTED)
ENDED = (Status.FINISHED, Status.FAILED, Status.CANCELLED)


class FrameStatus(models.TextChoices):
    """What became of one frame."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class ObjectKind(models.TextChoices):
    """What kind of annotation an id names."""

    SHAPE = "shape"
    TAG = "tag"
    TRACK = "track"


class FunctionVersion(models.Model):
    """A function as it was when it ran: outcomes and provenance name it by its short id."""

    id = models.BigAutoField(primary_key=True)
    function_id = models.CharField(max_length=255)
    version = models.IntegerField()
    revision = models.CharField(max_length=128, blank=True)

    class Meta:
        app_label = "cvat_lambda"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["function_id", "version", "revision"], name="lambda_version_uniq"
            ),
        ]

    def __str__(self) -> str:
        revision = f" ({self.revision})" if self.revision else ""
        return f"{self.function_id} v{self.version}{revision}"


class Request(models.Model):
    """One background run of a function over many frames."""

    id = models.CharField(
        primary_key=True, max_length=40, default=new_request_id, editable=False, serialize=False
    )
    owner = models.ForeignKey(
        django_settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    organization_id = models.BigIntegerField(null=True, blank=True)
    project_id = models.BigIntegerField(null=True, blank=True)  # the scope, where it is a project
    task_id = models.BigIntegerField(null=True, blank=True)  # null: several tasks
    job_id = models.BigIntegerField(null=True, blank=True)  # null: not one job alone

    # No foreign key: the history outlives the function.
    function_id = models.CharField(max_length=255)
    function_kind = models.CharField(max_length=16)
    function_version = models.IntegerField(default=1)  # of the latest run; frames have their own
    function_revision = models.CharField(max_length=128, blank=True, default="")
    params = models.JSONField(default=dict)  # as `requests.params.Params` writes them

    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    priority = models.IntegerField(default=0)  # > 0: before the others of the queue
    max_failure_rate = models.FloatField(null=True, blank=True)  # null: the setting's

    total = models.IntegerField(default=0)  # frames in scope; skipped ones are in it
    done = models.IntegerField(default=0)
    done_before = models.IntegerField(default=0)  # of these, before the latest retry
    failed = models.IntegerField(default=0)
    skipped = models.IntegerField(default=0)
    shapes = models.BigIntegerField(default=0)  # shapes, tags and tracks added
    dropped = models.BigIntegerField(default=0)  # results that were unmapped or degenerate

    error_code = models.CharField(max_length=64, blank=True, default="")
    error_message = models.TextField(blank=True, default="")

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    # From then on it is not known which of its frames are done: it cannot be retried.
    outcomes_pruned_at = models.DateTimeField(null=True, blank=True)
    # The webhook of its end; all null where none is configured, and anew with each retry.
    webhook_next_at = models.DateTimeField(null=True, blank=True)  # null: delivered, or given up
    webhook_attempts = models.IntegerField(default=0)
    webhook_job_id = models.CharField(max_length=255, blank=True, default="")  # the last one's
    notified_at = models.DateTimeField(null=True, blank=True)  # it was delivered
    webhook_given_up_at = models.DateTimeField(null=True, blank=True)
    resumes = models.IntegerField(default=0)  # times that a shard of it was taken up again
    meta = models.JSONField(default=dict, blank=True)  # the host's, for the meta of RQ jobs

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["status", "created_at"], name="lambda_req_status_idx"),
            models.Index(fields=["task_id", "created_at"], name="lambda_req_task_idx"),
            models.Index(fields=["function_id", "created_at"], name="lambda_req_function_idx"),
            models.Index(fields=["webhook_next_at"], name="lambda_req_webhook_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.function_id}, {self.status}"


class Shard(models.Model):
    """Frames of one task that one worker runs; its row is the fence of every write."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="shards")
    index = models.IntegerField()
    task_id = models.BigIntegerField()
    job_id = models.BigIntegerField(null=True, blank=True)  # set: read and write this job alone
    # Of a ground-truth job or a consensus replica: its annotations are not the task's.
    private_annotations = models.BooleanField(default=False)
    frames = models.JSONField()  # [[first, last], ...], ascending, inclusive
    first_frame = models.IntegerField()  # bounds of `frames`, for the overlap query
    last_frame = models.IntegerField()

    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    lease = models.CharField(max_length=40, blank=True, default="")  # of the worker that holds it
    worker = models.CharField(max_length=255, blank=True, default="")
    rq_job_id = models.CharField(max_length=255, blank=True, default="")
    enqueued_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    attempts = models.IntegerField(default=0)  # times that a worker took it up
    settled_at_claim = models.IntegerField(default=0)  # frames with an outcome at that time
    resumes = models.IntegerField(default=0)  # times in a row that it stalled without an outcome

    # The task's newest track when a worker first looked; null where no tracks are replaced.
    last_track_id = models.BigIntegerField(null=True, blank=True)

    total = models.IntegerField(default=0)
    done = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    skipped = models.IntegerField(default=0)
    rate = models.FloatField(default=0.0)  # frames a second, recent

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["request_id", "index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request", "index"], name="lambda_shard_index_uniq"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["task_id", "status"], name="lambda_shard_task_idx"),
            models.Index(fields=["status", "heartbeat_at"], name="lambda_shard_stalled_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}/{self.index}: task {self.task_id}, {self.status}"


class Outcome(models.Model):
    """What became of one frame of a request."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="outcomes")
    shard = models.ForeignKey(Shard, on_delete=models.CASCADE, related_name="outcomes")
    task_id = models.BigIntegerField()
    frame = models.IntegerField()
    status = models.CharField(max_length=8, choices=FrameStatus.choices)
    code = models.CharField(max_length=64, blank=True, default="")  # an error's, or why skipped
    message = models.TextField(blank=True, default="")
    attempts = models.IntegerField(default=0)  # invocations
    duration_ms = models.IntegerField(null=True, blank=True)  # of the invocations, with waits
    version = models.ForeignKey(
        FunctionVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    shapes = models.IntegerField(default=0)
    # What the end of the run needs of this frame (ReID: pairs of linked shape ids).
    result = models.JSONField(null=True, blank=True)
    written_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["shard_id", "frame"]
        constraints: ClassVar = [
            # Not by task: a ground-truth job has the task's frames on a layer of its own.
            models.UniqueConstraint(fields=["shard", "frame"], name="lambda_outcome_frame_uniq"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["request", "status"], name="lambda_outcome_status_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}: frame {self.frame} of task {self.task_id}, {self.status}"


class Provenance(models.Model):
    """Which request made an annotation, and how sure the function was."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="provenance")
    task_id = models.BigIntegerField()
    job_id = models.BigIntegerField(null=True, blank=True)  # set: written to this job alone
    frame = models.IntegerField()  # of a track: its first
    kind = models.CharField(max_length=8, choices=ObjectKind.choices)
    object_id = models.BigIntegerField()
    version = models.ForeignKey(
        FunctionVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    score = models.FloatField(default=1.0)

    class Meta:
        app_label = "cvat_lambda"
        verbose_name_plural = "provenance"
        indexes: ClassVar = [
            models.Index(fields=["task_id", "frame"], name="lambda_prov_frame_idx"),
            models.Index(fields=["kind", "object_id"], name="lambda_prov_object_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id} of task {self.task_id} by {self.request_id}"


class MergedRectangle(models.Model):
    """A rectangle that a ReID request joined to a track: what an undo brings back."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="merged_rectangles")
    task_id = models.BigIntegerField()
    job_id = models.BigIntegerField(null=True, blank=True)  # as of the shard that joined it
    frame = models.IntegerField()
    shape_id = models.BigIntegerField()  # that it had, and that its provenance names
    shape = models.JSONField()  # as `annotations.serialize` writes shapes

    class Meta:
        app_label = "cvat_lambda"
        verbose_name_plural = "merged rectangles"
        indexes: ClassVar = [
            models.Index(fields=["task_id", "frame"], name="lambda_merged_frame_idx"),
            models.Index(fields=["shape_id"], name="lambda_merged_shape_idx"),
        ]

    def __str__(self) -> str:
        return f"shape {self.shape_id} of task {self.task_id}, joined by {self.request_id}"


class ScopeGuard(models.Model):
    """A row a task: whoever starts a request on the task locks it, so that two cannot overlap."""

    task_id = models.BigIntegerField(primary_key=True)

    class Meta:
        app_label = "cvat_lambda"

    def __str__(self) -> str:
        return f"task {self.task_id}"
