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

PRIORITIZE = "prioritize_request"  # the permission to create requests with a priority above 0


def new_request_id() -> str:
    """Return a random id that cannot be guessed."""
    return f"req-{secrets.token_hex(12)}"


class Status(models.TextChoices):
    """The status of a request or a shard."""

    QUEUED = "queued"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (Status.QUEUED, Status.STARTED)
ENDED = (Status.FINISHED, Status.FAILED, Status.CANCELLED)


class FrameStatus(models.TextChoices):
    """The outcome status of one frame."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class ObjectKind(models.TextChoices):
    """The kind of an annotation."""

    SHAPE = "shape"
    TAG = "tag"
    TRACK = "track"


class FunctionVersion(models.Model):
    """A version of a function: outcomes and provenance refer to it."""

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
    project_id = models.BigIntegerField(null=True, blank=True)  # set if the scope is a project
    task_id = models.BigIntegerField(null=True, blank=True)  # null: several tasks
    job_id = models.BigIntegerField(null=True, blank=True)  # null: not one job only

    # No foreign key: requests are kept when the function is deleted.
    function_id = models.CharField(max_length=255)
    function_kind = models.CharField(max_length=16)
    function_version = models.IntegerField(
        default=1
    )  # of the latest batch; outcomes have their own
    function_revision = models.CharField(max_length=128, blank=True, default="")
    params = models.JSONField(default=dict)  # of `params.Params`

    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    priority = models.IntegerField(default=0)  # > 0: at the front of the queue
    max_failure_rate = models.FloatField(null=True, blank=True)  # null: the setting

    total = models.IntegerField(default=0)  # frames in scope, with skipped ones
    done = models.IntegerField(default=0)
    done_before = models.IntegerField(default=0)  # those done before the latest retry
    failed = models.IntegerField(default=0)
    skipped = models.IntegerField(default=0)
    shapes = models.BigIntegerField(default=0)  # shapes, tags and tracks added
    dropped = models.BigIntegerField(default=0)  # results that were not written
    notes = models.JSONField(default=dict, blank=True)  # as `store.notes` writes them
    # Versions of the function that ran: [[version, revision], ...] in order of first use.
    revisions = models.JSONField(default=list, blank=True)

    error_code = models.CharField(max_length=64, blank=True, default="")
    error_message = models.TextField(blank=True, default="")

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    undoing_at = models.DateTimeField(null=True, blank=True)  # latest step of an undo; null: none
    undo_user_id = models.BigIntegerField(null=True, blank=True)  # who requested the undo
    undone_at = models.DateTimeField(null=True, blank=True)  # everything that it added is removed
    # Set when the outcomes of its frames are deleted: it can no longer be retried.
    outcomes_pruned_at = models.DateTimeField(null=True, blank=True)
    # The webhook of its end. All are null without a configured URL; a retry resets them.
    webhook_next_at = models.DateTimeField(null=True, blank=True)  # null: delivered or given up
    webhook_attempts = models.IntegerField(default=0)
    webhook_job_id = models.CharField(
        max_length=255, blank=True, default=""
    )  # of the latest attempt
    notified_at = models.DateTimeField(null=True, blank=True)  # when it was delivered
    webhook_given_up_at = models.DateTimeField(null=True, blank=True)
    resumes = models.IntegerField(default=0)  # times that a stalled shard of it was queued again
    meta = models.JSONField(default=dict, blank=True)  # the engine's, for the meta of RQ jobs

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["-created_at"]
        permissions: ClassVar = [(PRIORITIZE, "Can put requests before those of others")]
        indexes: ClassVar = [
            models.Index(fields=["created_at"], name="lambda_req_created_idx"),
            models.Index(fields=["owner", "created_at"], name="lambda_req_owner_idx"),
            models.Index(fields=["status", "created_at"], name="lambda_req_status_idx"),
            models.Index(fields=["task_id", "created_at"], name="lambda_req_task_idx"),
            models.Index(fields=["function_id", "created_at"], name="lambda_req_function_idx"),
            # Of one owner or function there may be most of all requests.
            models.Index(
                fields=["owner", "status", "created_at"], name="lambda_req_own_status_idx"
            ),
            models.Index(
                fields=["owner", "function_id", "created_at"], name="lambda_req_own_func_idx"
            ),
            models.Index(
                fields=["function_id", "status", "created_at"], name="lambda_req_func_status_idx"
            ),
            models.Index(
                fields=["job_id"],
                name="lambda_req_job_idx",
                condition=models.Q(job_id__isnull=False),
            ),
            models.Index(
                fields=["created_at"],
                name="lambda_req_undone_idx",
                condition=models.Q(undone_at__isnull=False),
            ),
            models.Index(fields=["webhook_next_at"], name="lambda_req_webhook_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.function_id}, {self.status}"


class Shard(models.Model):
    """Frames of one task that one worker runs. Every write of the worker locks this row first."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="shards")
    index = models.IntegerField()
    task_id = models.BigIntegerField()
    job_id = models.BigIntegerField(null=True, blank=True)  # set: read and write only this job
    # Of a ground-truth job or a consensus replica: its annotations are not the task's.
    private_annotations = models.BooleanField(default=False)
    frames = models.JSONField()  # [[first, last], ...], ascending, inclusive
    first_frame = models.IntegerField()  # bounds of `frames`
    last_frame = models.IntegerField()
    # The shard whose tracked objects this one goes on with; it begins when that one has ended.
    after = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="followers"
    )

    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    lease = models.CharField(
        max_length=40, blank=True, default=""
    )  # the token of the worker that runs it
    worker = models.CharField(max_length=255, blank=True, default="")
    rq_job_id = models.CharField(max_length=255, blank=True, default="")
    enqueued_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    attempts = models.IntegerField(default=0)  # times that a worker claimed it
    settled_at_claim = models.IntegerField(default=0)  # frames with an outcome at the latest claim
    resumes = models.IntegerField(default=0)  # stalls in a row without a new outcome

    # The task's newest track when the shard first ran; null if no tracks are replaced.
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
            models.Index(
                fields=["job_id"],
                name="lambda_shard_job_idx",
                condition=models.Q(job_id__isnull=False),
            ),
            models.Index(fields=["status", "heartbeat_at"], name="lambda_shard_stalled_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}/{self.index}: task {self.task_id}, {self.status}"


class Outcome(models.Model):
    """The outcome of one frame of a request."""

    id = models.BigAutoField(primary_key=True)
    # The indexes below begin with the request and the shard.
    request = models.ForeignKey(
        Request, on_delete=models.CASCADE, related_name="outcomes", db_index=False
    )
    shard = models.ForeignKey(
        Shard, on_delete=models.CASCADE, related_name="outcomes", db_index=False
    )
    task_id = models.BigIntegerField()
    frame = models.IntegerField()
    status = models.CharField(max_length=8, choices=FrameStatus.choices)
    code = models.CharField(
        max_length=64, blank=True, default=""
    )  # of the error, or the reason for a skip
    message = models.TextField(blank=True, default="")
    attempts = models.IntegerField(default=0)  # invocations
    duration_ms = models.IntegerField(null=True, blank=True)  # of the invocations, with waiting
    version = models.ForeignKey(
        FunctionVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    shapes = models.IntegerField(default=0)
    notes = models.JSONField(null=True, blank=True)  # as `store.notes` writes them; null: none
    # What the end of the run needs of this frame (ReID: which rectangles are linked).
    result = models.JSONField(null=True, blank=True)
    written_at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["shard_id", "frame"]
        constraints: ClassVar = [
            # Not by task: a ground-truth job has annotations of its own on the task's frames.
            models.UniqueConstraint(fields=["shard", "frame"], name="lambda_outcome_frame_uniq"),
        ]
        indexes: ClassVar = [
            # In the order of the lists, so that no page sorts the frames of the request.
            models.Index(
                fields=["request", "task_id", "frame", "id"], name="lambda_outcome_list_idx"
            ),
            models.Index(
                fields=["request", "status", "task_id", "frame", "id"],
                name="lambda_outcome_status_idx",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}: frame {self.frame} of task {self.task_id}, {self.status}"


class Provenance(models.Model):
    """Which request made an annotation, and the function's score for it."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="provenance")
    task_id = models.BigIntegerField()
    job_id = models.BigIntegerField(null=True, blank=True)  # set: written only to this job
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
    # Of what was written (`annotations.fingerprint`): an annotation that differs was edited by a
    # person. Null: not known.
    fingerprint = models.BigIntegerField(null=True, blank=True)

    class Meta:
        app_label = "cvat_lambda"
        verbose_name_plural = "provenance"
        indexes: ClassVar = [
            models.Index(fields=["task_id", "frame"], name="lambda_prov_frame_idx"),
            models.Index(fields=["kind", "object_id"], name="lambda_prov_object_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id} of task {self.task_id} by {self.request_id}"


class Checkpoint(models.Model):
    """The state of a sequential run after the frame that it wrote last."""

    shard = models.OneToOneField(
        Shard, on_delete=models.CASCADE, primary_key=True, related_name="checkpoint"
    )
    data = models.BinaryField()  # as `requests.run.checkpoint` packs it

    class Meta:
        app_label = "cvat_lambda"

    def __str__(self) -> str:
        return f"checkpoint of shard {self.shard_id}"


class MergedRectangle(models.Model):
    """A shape or track that a ReID or tracker request replaced by a track; an undo restores it."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="merged_rectangles")
    task_id = models.BigIntegerField()
    job_id = models.BigIntegerField(null=True, blank=True)  # of the shard that merged it
    frame = models.IntegerField()
    kind = models.CharField(max_length=8, choices=ObjectKind.choices, default=ObjectKind.SHAPE)
    shape_id = models.BigIntegerField()  # its former id, which its provenance has
    shape = models.JSONField()  # as `annotations.serialize` writes shapes and tracks
    # The track that replaced it; null if masks did, and in rows of old versions.
    track_id = models.BigIntegerField(null=True, blank=True)

    class Meta:
        app_label = "cvat_lambda"
        verbose_name_plural = "merged rectangles"
        indexes: ClassVar = [
            models.Index(fields=["task_id", "frame"], name="lambda_merged_frame_idx"),
            models.Index(fields=["shape_id"], name="lambda_merged_shape_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.shape_id} of task {self.task_id}, merged by {self.request_id}"


class ScopeGuard(models.Model):
    """One row a task. A request locks it when it starts, so that two requests cannot overlap."""

    task_id = models.BigIntegerField(primary_key=True)

    class Meta:
        app_label = "cvat_lambda"

    def __str__(self) -> str:
        return f"task {self.task_id}"
