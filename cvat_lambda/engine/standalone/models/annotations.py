"""Shapes, tags and tracks.

The annotation jobs of a task share its annotations (``job`` is null). A job shows those on its
frames, so an object on a frame of two jobs is one row. Ground-truth jobs and consensus replicas
have private annotations (``job`` is set).
"""

from __future__ import annotations

from typing import get_args

from django.db import models

from cvat_lambda.annotations.types import ShapeType, Source
from cvat_lambda.engine.standalone.models.fields import AttributesField, PointsField
from cvat_lambda.engine.standalone.models.labels import Label
from cvat_lambda.engine.standalone.models.tasks import Job, Task

SHAPE_TYPES = [(name, name) for name in get_args(ShapeType)]
SOURCES = [(name, name) for name in get_args(Source)]


class Annotation(models.Model):
    """Common columns of shapes, tags and tracks."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+", db_index=False)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    label = models.ForeignKey(Label, on_delete=models.CASCADE, related_name="+")
    frame = models.PositiveIntegerField()  # relative to the task
    group = models.PositiveIntegerField(default=0)
    source = models.CharField(max_length=16, choices=SOURCES, default="manual")
    score = models.FloatField(default=1.0)  # in [0, 1]
    attributes = AttributesField(default=tuple, blank=True)
    extra = models.TextField(default="", blank=True)  # JSON of unknown members

    class Meta:
        abstract = True
        ordering = ("id",)
        indexes = [models.Index(fields=("task", "frame"), name="engine_%(class)s_frame")]

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} #{self.pk} on frame {self.frame}"


class Placed(models.Model):
    """The geometry of a shape."""

    type = models.CharField(max_length=16, choices=SHAPE_TYPES)
    points = PointsField(default=tuple, blank=True)
    rotation = models.FloatField(default=0.0)  # degrees
    occluded = models.BooleanField(default=False)
    outside = models.BooleanField(default=False)
    z_order = models.IntegerField(default=0)

    class Meta:
        abstract = True


class LabeledTag(Annotation):
    """A label of a whole frame."""

    class Meta(Annotation.Meta):
        pass


class LabeledShape(Placed, Annotation):
    """A shape on one frame; an element of a skeleton has a parent."""

    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="elements"
    )

    class Meta(Annotation.Meta):
        pass


class LabeledTrack(Annotation):
    """An object over many frames; an element of a skeleton has a parent."""

    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="elements"
    )

    class Meta(Annotation.Meta):
        pass


class TrackedShape(Placed):
    """A keyframe of a track."""

    # The index below begins with the track.
    track = models.ForeignKey(
        LabeledTrack, on_delete=models.CASCADE, related_name="shapes", db_index=False
    )
    frame = models.PositiveIntegerField()
    attributes = AttributesField(default=tuple, blank=True)  # mutable attributes
    extra = models.TextField(default="", blank=True)  # JSON of unknown members

    class Meta:
        ordering = ("frame", "id")
        # In order of frame, so that the keyframes next to a frame are found without the others.
        indexes = [models.Index(fields=("track", "frame", "id"), name="engine_keyframe_idx")]

    def __str__(self) -> str:
        return f"key frame {self.frame} of track #{self.track_id}"


class LabeledInterval(models.Model):
    """A part of an audio track, which newer clients send. This server only keeps it."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="+")
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    extra = models.TextField()  # JSON of all members but the id

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"interval #{self.pk}"
