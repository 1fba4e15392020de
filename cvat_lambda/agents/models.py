"""The tables of native functions, their agents, and the queue of their annotation requests.

A native function runs in processes of its owner, the *agents*. An agent polls the server, takes an
entry of the queue, reads the frames itself and sends the result.
"""

from __future__ import annotations

from typing import ClassVar, Final

from django.conf import settings as django_settings
from django.db import models
from django.utils import timezone

from cvat_lambda.functions.models import Function

AGENT_ID_LENGTH: Final = 32


class Category(models.TextChoices):
    """Agents take interactive entries first."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class EntryState(models.TextChoices):
    """The state of a queue entry."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


WAITING: Final = (EntryState.QUEUED, EntryState.ASSIGNED)


class NativeFunction(models.Model):
    """The part of a native function that `Function` does not have.

    The clients know the function by this row's integer id, the lambda API by that of `function`.
    """

    id = models.BigAutoField(primary_key=True)
    function = models.OneToOneField(
        Function, null=True, on_delete=models.CASCADE, related_name="native"
    )
    spec = models.JSONField(default=dict)  # the fields of its kind, as the API shows them
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return native_id(self.pk)


def native_id(pk: int) -> str:
    """Return the id of a native function in the lambda API."""
    return f"native-{pk}"


class Agent(models.Model):
    """A process that serves a native function."""

    id = models.BigAutoField(primary_key=True)
    function = models.ForeignKey(NativeFunction, on_delete=models.CASCADE, related_name="agents")
    agent_id = models.CharField(max_length=AGENT_ID_LENGTH)  # random, of the agent's own choice
    user = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    first_seen_at = models.DateTimeField(default=timezone.now)
    heard_at = models.DateTimeField(default=timezone.now)  # precise to `presence.PRECISION_S`

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["function", "agent_id"], name="lambda_agent_uniq"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_id[:8]} of {native_id(self.function_id)}"


class QueueEntry(models.Model):
    """One annotation request that an agent is to answer. Its caller waits for it.

    Every change of ``state`` is a conditional UPDATE.
    """

    id = models.BigAutoField(primary_key=True)  # agents know it as ``ar_id``
    function = models.ForeignKey(NativeFunction, on_delete=models.CASCADE, related_name="entries")
    category = models.CharField(max_length=12, choices=Category.choices)
    params = models.JSONField()  # ``ar_params``; task and frame by their numbers, no image
    pinned_to = models.CharField(max_length=AGENT_ID_LENGTH, blank=True, default="")  # "": any
    state = models.CharField(max_length=12, choices=EntryState.choices, default=EntryState.QUEUED)
    agent_id = models.CharField(max_length=AGENT_ID_LENGTH, blank=True, default="")
    lease_expires_at = models.DateTimeField(null=True, blank=True)  # of the agent
    wanted_until = models.DateTimeField()  # its caller renews this; later nobody waits for it
    progress = models.FloatField(default=0.0)
    result = models.TextField(blank=True, default="")  # JSON
    error_code = models.CharField(max_length=64, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    assigned_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "cvat_lambda"
        ordering: ClassVar = ["id"]
        verbose_name_plural = "queue entries"
        indexes: ClassVar = [
            models.Index(fields=["function", "state", "category", "id"], name="lambda_entry_idx"),
            models.Index(fields=["wanted_until"], name="lambda_entry_wanted_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.params.get('type')} for {native_id(self.function_id)}"
