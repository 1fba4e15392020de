"""The media of a task: image files, or one video and the index of its frames."""

from __future__ import annotations

from array import array

from django.db import models
from django.utils import timezone

from cvat_lambda.engine.standalone.models.tasks import Task


class DataKind(models.TextChoices):
    IMAGES = "images"
    VIDEO = "video"


class Data(models.Model):
    """The frames of a task.

    Frame ``r`` (relative to the task) is item ``start_frame + r * step`` of the upload, in the
    order of ``sorting_method``.
    """

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="data")
    kind = models.CharField(max_length=16, choices=DataKind.choices)
    folder = models.CharField(max_length=64, unique=True)  # below MEDIA_ROOT/engine
    size = models.PositiveIntegerField()  # frames
    size_bytes = models.BigIntegerField(default=0)  # of the files; 0: not measured yet
    start_frame = models.PositiveIntegerField(default=0)  # of the upload, inclusive
    stop_frame = models.PositiveIntegerField()  # of the upload, inclusive
    step = models.PositiveIntegerField(default=1)
    sorting_method = models.CharField(max_length=16, default="lexicographical")
    image_quality = models.PositiveSmallIntegerField(default=70)  # JPEG quality of ``compressed``
    chunk_size = models.PositiveIntegerField()
    deleted_frames = models.JSONField(default=list, blank=True)  # relative numbers
    fingerprint = models.CharField(max_length=64)  # of the content of a video
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "data"

    def __str__(self) -> str:
        return f"{self.size} frames ({self.kind}) of task #{self.task_id}"

    @property
    def frame_filter(self) -> str:
        """Return the step as the API writes it."""
        return f"step={self.step}" if self.step > 1 else ""


class Image(models.Model):
    """One frame that is an image file."""

    data = models.ForeignKey(Data, on_delete=models.CASCADE, related_name="images")
    number = models.PositiveIntegerField()  # relative
    name = models.CharField(max_length=1024)  # as uploaded, with folders
    path = models.CharField(max_length=128)  # the displayed file, below the data's folder
    original_path = models.CharField(
        max_length=128
    )  # the uploaded file; differs if EXIF turns the image
    mime = models.CharField(max_length=64)
    width = models.PositiveIntegerField()  # pixels, EXIF orientation applied
    height = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=64)  # of the content

    class Meta:
        ordering = ("number",)
        constraints = [
            models.UniqueConstraint(fields=("data", "number"), name="engine_image_once_a_frame")
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.name}"


class Video(models.Model):
    """The video file of a task and the index of its frames.

    ``timestamps`` and ``key_timestamps`` are presentation times in the stream's time base, packed
    as 64-bit integers: of every decoded frame, and of those that decoding can start at.
    """

    data = models.OneToOneField(Data, on_delete=models.CASCADE, related_name="video")
    name = models.CharField(max_length=1024)
    path = models.CharField(max_length=128)
    width = models.PositiveIntegerField()  # pixels, EXIF orientation applied
    height = models.PositiveIntegerField()
    rotation = models.SmallIntegerField(default=0)  # degrees clockwise to turn a decoded frame
    timestamps = models.BinaryField()
    key_timestamps = models.BinaryField()

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def pack(values: list[int]) -> bytes:
        """Encode numbers for the columns."""
        return array("q", values).tobytes()

    @staticmethod
    def unpack(column: bytes | memoryview) -> array[int]:
        """Return what `pack` packed."""
        values = array("q")
        values.frombytes(bytes(column))
        return values
