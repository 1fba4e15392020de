"""The app for INSTALLED_APPS: ``cvat_lambda``."""

from __future__ import annotations

from typing import Final

from django.apps import AppConfig

RUN_SHARD: Final = "cvat_lambda.requests.rq_tasks.run_shard"
DELIVER_WEBHOOK: Final = "cvat_lambda.requests.rq_tasks.deliver_webhook"


class CvatLambdaConfig(AppConfig):
    """Model functions, background requests and calls."""

    name = "cvat_lambda"
    label = "cvat_lambda"
    verbose_name = "Model functions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These modules register checks and receivers when they are imported.
        from cvat_lambda import checks  # noqa: F401
        from cvat_lambda.agents import presence
        from cvat_lambda.agents import queue as agent_queue
        from cvat_lambda.functions import background
        from cvat_lambda.functions.platforms import use_platform
        from cvat_lambda.gateway import nuclio
        from cvat_lambda.observability import audit, logs, metrics  # noqa: F401
        from cvat_lambda.requests.store import queue
        from cvat_lambda.rest import asgi

        # By name: a web process puts these functions on the queue and never imports them.
        queue.register_tasks(queue.TaskNames(run_shard=RUN_SHARD, deliver_webhook=DELIVER_WEBHOOK))
        use_platform(nuclio.platform)
        background.start_with_the_first_http_request()
        background.also_call(presence.mark_lost)
        background.also_call(agent_queue.delete_ended)
        audit.connect()
        asgi.keep_receive()
