"""The registry's tables: the last known state of each function, and of its platform."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.conf import settings as django_settings
from django.db import models
from django.utils import timezone

# Who runs a function.
NUCLIO: Final = "nuclio"
ENDPOINT: Final = "endpoint"
NATIVE: Final = "native"
PLATFORMS: Final = [
    (NUCLIO, "Nuclio or the embedded runtime"),
    (ENDPOINT, "HTTP endpoint"),
    (NATIVE, "agents of its owner"),
]

# Whether it can be called now: `cvat_lambda.functions.spec.State`.
READY: Final = "ready"
UNHEALTHY: Final = "unhealthy"
MISSING: Final = "missing"
SCALED_TO_ZERO: Final = "scaled_to_zero"
CALLABLE: Final = (READY, SCALED_TO_ZERO)  # the first call starts a function scaled to zero
STATES: Final = [
    (state, state) for state in (READY, "building", "error", UNHEALTHY, SCALED_TO_ZERO, MISSING)
]


class Function(models.Model):
    """A function: of a platform as that last described it, an HTTP endpoint, or a native one.

    If the platform no longer lists a function, its row is kept for a while with the state
    ``missing``, because the function may return.
    What a function can do is derived from ``metadata`` by `cvat_lambda.functions.metadata`.
    """

    id = models.CharField(primary_key=True, max_length=128)
    platform = models.CharField(max_length=16, choices=PLATFORMS, default=NUCLIO)
    kind = models.CharField(max_length=16, blank=True, default="")  # "": metadata not usable
    name = models.CharField(max_length=256, blank=True, default="")
    description = models.TextField(blank=True, default="")
    version = models.IntegerField(default=1)
    revision = models.CharField(max_length=64, blank=True, default="")  # hash of the content
    state = models.CharField(max_length=16, choices=STATES, default=READY)
    message = models.TextField(blank=True, default="")  # of the platform, or the last failure
    problem = models.TextField(blank=True, default="")  # why the metadata cannot be used
    metadata = models.JSONField(default=dict, blank=True)  # from the platform, untrusted
    endpoint_url = models.CharField("URL", max_length=2048, blank=True, default="")
    token = models.CharField(max_length=4096, blank=True, default="")  # bearer token
    timeout_s = models.FloatField("time limit, s", null=True, blank=True)
    enabled = models.BooleanField(default=True)
    # Of a native function. A private one is visible to its owner and its organization only.
    owner = models.ForeignKey(
        django_settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    organization_id = models.BigIntegerField(null=True, blank=True)
    private = models.BooleanField(default=False)
    first_seen_at = models.DateTimeField(default=timezone.now, editable=False)
    # When its platform last listed it, or when an agent of it was last heard of.
    seen_at = models.DateTimeField(default=timezone.now, editable=False)
    checked_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)  # of any field above

    class Meta:
        app_label = "cvat_lambda"
        ordering = ("id",)
        indexes: ClassVar = [
            # Most functions are not private, and each list asks for the organizations of those.
            models.Index(
                fields=["organization_id"],
                name="lambda_func_private_idx",
                condition=models.Q(private=True),
            ),
        ]

    def __str__(self) -> str:
        return self.id

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save and set ``changed_at``, so that every process derives the function's spec again."""
        self.changed_at = timezone.now()
        if kwargs.get("update_fields") is not None:
            kwargs["update_fields"] = {*kwargs["update_fields"], "changed_at"}
        super().save(*args, **kwargs)


class PlatformCheck(models.Model):
    """When a platform's list was last read; a conditional UPDATE of it claims the next reading."""

    platform = models.CharField(primary_key=True, max_length=16)
    claimed_until = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    reached_at = models.DateTimeField(null=True, blank=True)  # the last successful reading
    error = models.TextField(blank=True, default="")  # "": the last reading succeeded

    class Meta:
        app_label = "cvat_lambda"

    def __str__(self) -> str:
        return self.platform
