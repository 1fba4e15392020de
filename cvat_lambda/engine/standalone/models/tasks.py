"""Projects, tasks, segments and jobs."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db import models
from django.utils import timezone


class JobType(models.TextChoices):
    ANNOTATION = "annotation"
    GROUND_TRUTH = "ground_truth"
    CONSENSUS_REPLICA = "consensus_replica"


class JobState(models.TextChoices):
    NEW = "new"
    IN_PROGRESS = "in progress"
    COMPLETED = "completed"
    REJECTED = "rejected"


class JobStage(models.TextChoices):
    ANNOTATION = "annotation"
    VALIDATION = "validation"
    ACCEPTANCE = "acceptance"


class Owned(models.Model):
    """An object with an owner and an assignee."""

    name = models.CharField(max_length=256)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="owned_%(class)ss",
    )
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="assigned_%(class)ss",
    )
    assignee_updated_at = models.DateTimeField(null=True, blank=True, editable=False)
    bug_tracker = models.CharField(max_length=2000, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"#{self.pk} {self.name}"


class Project(Owned):
    """A group of tasks that share their labels."""

    class Meta:
        ordering = ("-id",)


class Task(Owned):
    """Frames to annotate, with labels. Without `data` it has no frames yet."""

    project = models.ForeignKey(
        Project, null=True, blank=True, on_delete=models.CASCADE, related_name="tasks"
    )
    subset = models.CharField(max_length=64, blank=True, default="")
    segment_size = models.PositiveIntegerField(default=0)  # frames of a job; 0: the whole task
    # Frames that neighbouring jobs share; null until the frames are known: the default of the kind.
    overlap = models.PositiveIntegerField(null=True, blank=True, default=None)

    class Meta:
        ordering = ("-id",)


class Segment(models.Model):
    """A range of a task's frames, or a selection of them (``frames``)."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="segments")
    start_frame = models.PositiveIntegerField()  # relative, inclusive
    stop_frame = models.PositiveIntegerField()  # relative, inclusive
    frames = models.JSONField(null=True, blank=True, default=None)  # null: the whole range

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"frames {self.start_frame}..{self.stop_frame} of task #{self.task_id}"

    @property
    def frame_numbers(self) -> Sequence[int]:
        """Return the numbers of its frames, relative to the task, ascending."""
        if self.frames is None:
            return range(self.start_frame, self.stop_frame + 1)
        return tuple(self.frames)


class Job(models.Model):
    """A segment that one person annotates."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="jobs")
    type = models.CharField(max_length=32, choices=JobType.choices, default=JobType.ANNOTATION)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="replicas"
    )
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="assigned_jobs",
    )
    assignee_updated_at = models.DateTimeField(null=True, blank=True, editable=False)
    state = models.CharField(max_length=32, choices=JobState.choices, default=JobState.NEW)
    stage = models.CharField(max_length=32, choices=JobStage.choices, default=JobStage.ANNOTATION)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"#{self.pk} ({self.type})"

    @property
    def is_private(self) -> bool:
        """Whether it has private annotations, not those of the task."""
        return self.type != JobType.ANNOTATION
