"""The app for INSTALLED_APPS: ``cvat_lambda``."""

from __future__ import annotations

from django.apps import AppConfig


class CvatLambdaConfig(AppConfig):
    """Model functions, background requests and calls."""

    name = "cvat_lambda"
    label = "cvat_lambda"
    verbose_name = "Model functions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These modules register checks and receivers when they are imported.
        from cvat_lambda import checks  # noqa: F401
        from cvat_lambda.observability import logs, metrics  # noqa: F401
