"""The Django app that joins `cvat_lambda` to a CVAT server. INSTALLED_APPS names both."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class CvatIntegrationConfig(AppConfig):
    """Registers the policy rules, the permissions of the app's views and the signal receivers.

    The app has no models.
    """

    name = "cvat_lambda.integration.cvat"
    label = "cvat_lambda_integration"
    verbose_name = "Model functions in CVAT"

    def ready(self) -> None:
        from cvat.apps.iam.permissions import load_app_iam_rules
        from cvat.apps.iam.utils import add_opa_rules_path

        from cvat_lambda.api.base import LambdaViewSet
        from cvat_lambda.engine.cvat.compat import REQUEST_RULES
        from cvat_lambda.integration.cvat import receivers
        from cvat_lambda.integration.cvat.permissions import (
            LambdaPermission,
            check_organization,
            may_use_console,
        )
        from cvat_lambda.web.pages import Rights

        load_app_iam_rules(self)
        if REQUEST_RULES is not None:
            add_opa_rules_path(REQUEST_RULES)
        _import_early()
        receivers.connect()
        LambdaViewSet.iam_permission_class = LambdaPermission
        LambdaViewSet.check_query = check_organization
        Rights.allows = may_use_console


def _import_early() -> None:
    """Import what an RQ job needs, so that the process forked for each job inherits the modules."""
    import_module("cvat_lambda.engine.cvat.adapter")
    import_module("cvat_lambda.requests.rq_tasks")
