"""The app's log lines, written by receivers of its own signals.

Each line is a sentence for people; ``extra={"action": ...}`` is for machines.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import receiver

from cvat_lambda import signals

logger = logging.getLogger("cvat_lambda")


@receiver(signals.request_created)
def log_created(request: Any, **kwargs: object) -> None:
    logger.info(
        "request %s created: function '%s' on task %s, %s frames",
        request.id,
        request.function_id,
        request.task_id,
        request.total,
        extra={"action": "request_created", "request_id": request.id},
    )


@receiver(signals.request_started)
def log_started(request: Any, **kwargs: object) -> None:
    logger.info(
        "request %s started: function '%s'",
        request.id,
        request.function_id,
        extra={"action": "request_started", "request_id": request.id},
    )


@receiver(signals.request_finished)
def log_finished(request: Any, **kwargs: object) -> None:
    level = logging.WARNING if request.status == "failed" or request.failed else logging.INFO
    logger.log(
        level,
        "request %s %s: %s done, %s failed, %s skipped of %s frames%s",
        request.id,
        request.status,
        request.done,
        request.failed,
        request.skipped,
        request.total,
        f"; {request.error_message}" if request.error_message else "",
        extra={"action": f"request_{request.status}", "request_id": request.id},
    )


@receiver(signals.frame_failed)
def log_frame_failed(
    request_id: str, task_id: int, frame: int, code: str, message: str, **kwargs: object
) -> None:
    logger.warning(
        "request %s: frame %s of task %s failed: %s",
        request_id,
        frame,
        task_id,
        message,
        extra={"action": "frame_failed", "request_id": request_id, "code": code},
    )


@receiver(signals.function_state_changed)
def log_function_state(function_id: str, before: str, after: str, **kwargs: object) -> None:
    level = logging.INFO if after in ("ready", "scaled_to_zero", "building") else logging.WARNING
    logger.log(
        level,
        "function '%s' is %s (was %s)",
        function_id,
        after,
        before or "unknown",
        extra={"action": "function_state_changed", "function_id": function_id},
    )
