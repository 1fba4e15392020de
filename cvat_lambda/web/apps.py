"""The pages as a Django app, so that Django finds their templates and static files."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Pages of requests, functions and annotated frames."""

    name = "cvat_lambda.web"
    label = "cvat_lambda_web"
    verbose_name = "Pages"
