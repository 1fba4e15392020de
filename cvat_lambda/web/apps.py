"""Pages for people, as a Django app (templates and static files are found by it)."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Requests, functions and annotated frames to look at."""

    name = "cvat_lambda.web"
    label = "cvat_lambda_web"
    verbose_name = "Pages"
