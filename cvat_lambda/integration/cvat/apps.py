"""The app that joins ours to a CVAT server, for INSTALLED_APPS behind ``cvat_lambda``."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.utils.module_loading import import_string


class CvatHostConfig(AppConfig):
    """Policy rules, permissions of our views, and receivers of our signals."""

    name = "cvat_lambda.integration.cvat"
    label = "cvat_lambda_host"
    verbose_name = "Model functions in CVAT"

    def ready(self) -> None:
        from cvat.apps.iam.permissions import load_app_iam_rules

        from cvat_lambda.integration.cvat import receivers
        from cvat_lambda.integration.cvat.permissions import LambdaPermission

        load_app_iam_rules(self)
        _preload()
        receivers.connect()
        # The views know of no host: it is the host that says who may use them.
        import_string("cvat_lambda.api.base.LambdaViewSet").iam_permission_class = LambdaPermission


def _preload() -> None:
    """Import what a request needs: a worker forks for each job, and would import it each time."""
    import_module("cvat_lambda.engine.cvat.adapter")
    import_module("cvat_lambda.requests.rq_tasks")
