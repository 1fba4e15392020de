"""Labels, their attributes, and a skeleton's sublabels."""

from __future__ import annotations

from typing import get_args

from django.db import models

from cvat_lambda.annotations.types import InputType, LabelType
from cvat_lambda.engine.standalone.models.tasks import Project, Task

LABEL_TYPES = [(name, name) for name in get_args(LabelType)]
INPUT_TYPES = [(name, name) for name in get_args(InputType)]


class Label(models.Model):
    """A label of a task, or of a project for all its tasks, or a sublabel of a skeleton."""

    task = models.ForeignKey(
        Task, null=True, blank=True, on_delete=models.CASCADE, related_name="labels"
    )
    project = models.ForeignKey(
        Project, null=True, blank=True, on_delete=models.CASCADE, related_name="labels"
    )
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="sublabels"
    )
    name = models.CharField(max_length=64)
    type = models.CharField(max_length=32, choices=LABEL_TYPES, default="any")
    color = models.CharField(max_length=8, blank=True, default="")  # "#rrggbb"
    svg = models.TextField(blank=True, default="")  # of a skeleton: its drawing

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(
                fields=("task", "name"),
                condition=models.Q(parent__isnull=True),
                name="engine_label_once_a_task",
            ),
            models.UniqueConstraint(
                fields=("project", "name"),
                condition=models.Q(parent__isnull=True),
                name="engine_label_once_a_project",
            ),
            models.UniqueConstraint(
                fields=("parent", "name"), name="engine_sublabel_once_a_skeleton"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AttributeSpec(models.Model):
    """An attribute of a label. ``values``: one a line; of a number: min, max, step."""

    label = models.ForeignKey(Label, on_delete=models.CASCADE, related_name="attributes")
    name = models.CharField(max_length=64)
    input_type = models.CharField(max_length=16, choices=INPUT_TYPES)
    mutable = models.BooleanField(default=False)
    default = models.CharField(max_length=4096, blank=True, default="")
    values = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=("label", "name"), name="engine_attribute_once_a_label")
        ]

    def __str__(self) -> str:
        return self.name
