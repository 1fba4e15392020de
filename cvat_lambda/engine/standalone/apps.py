from __future__ import annotations

from django.apps import AppConfig


class EngineConfig(AppConfig):
    """The embedded engine: tasks, frames, labels and annotations without a CVAT server."""

    name = "cvat_lambda.engine.standalone"
    label = "engine"
    verbose_name = "Embedded engine"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cvat_lambda.engine.standalone.media.images import raise_pixel_limit

        raise_pixel_limit()
        # These modules register checks and receivers when they are imported.
        from cvat_lambda.engine.standalone import checks, receivers  # noqa: F401
