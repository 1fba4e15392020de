"""POST the end of a request to a URL: signed, with retries, and to allowed hosts only.

Each attempt is an RQ job of some seconds. The database stores when the next attempt is due, and
recovery puts it on the queue, so that no worker waits for a receiver. Attempts go on for a day.

The body is JSON. ``X-Cvat-Lambda-Timestamp`` is the time of sending in seconds, so that a receiver
can refuse an old message. ``X-Cvat-Lambda-Signature`` is ``sha256=`` and the HMAC-SHA256, in hex,
of the timestamp, a dot and the body; ``WEBHOOK_SECRET`` is the key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from cvat_lambda.allowed_hosts import admits, resolve
from cvat_lambda.conf import settings
from cvat_lambda.errors import InvalidRequest, LambdaError, PlatformUnreachable
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.host_resolver import split_url
from cvat_lambda.gateway.http import Server, TransportError
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.models import ENDED, Request

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
# The pause grows by the factor 3: the last attempt is about a day after the end of the request.
ATTEMPTS: Final = 9
FIRST_PAUSE_S: Final = 30.0
GROWTH: Final = 3.0


class _Refused(Exception):
    """The receiver or the settings refuse the webhook: another attempt would fail, too."""


def send(request_id: str) -> None:
    """Put the next attempt on the queue, if one is due. Concurrent calls put it there once."""
    if settings.WEBHOOK_URL:
        for request in _due().filter(pk=request_id):
            _send_job(request)


def send_lost() -> None:
    """Put the due attempts on the queue that are not on it. Raise RedisError."""
    if not settings.WEBHOOK_URL:
        return
    due = list(_due().order_by("webhook_next_at")[:1000])
    lost = queue.lost_jobs(request.webhook_job_id for request in due if request.webhook_job_id)
    for request in due:
        if request.webhook_job_id in lost | {""}:
            _send_job(request)


def deliver(request_id: str) -> bool:
    """Make one attempt to deliver the webhook, if one is due; return whether it was delivered.

    The next attempt is scheduled before this one begins, since the worker may be killed. The
    result is stored only if the request was not retried meanwhile.
    """
    request = _due().filter(pk=request_id).first() if settings.WEBHOOK_URL else None
    if request is None:
        return False
    number = request.webhook_attempts + 1
    same_end = Request.objects.filter(
        pk=request_id, status__in=ENDED, ended_at=request.ended_at, webhook_next_at__isnull=False
    )
    unclaimed = same_end.filter(webhook_attempts=request.webhook_attempts)
    due_at = timezone.now() + timedelta(seconds=pause_s(number))
    if not unclaimed.update(webhook_attempts=number, webhook_next_at=due_at):
        return False  # another worker makes this attempt
    try:
        delivered = _attempt(request)
    except _Refused:
        delivered, number = False, ATTEMPTS
    now = timezone.now()
    if delivered:
        same_end.update(notified_at=now, webhook_next_at=None)
    elif number >= ATTEMPTS:
        logger.error(
            "The webhook of %s was given up",
            request_id,
            extra={"action": "webhook_lost"},
        )
        same_end.update(webhook_given_up_at=now, webhook_next_at=None)
    return delivered


def pause_s(attempt: int) -> float:
    """Return the seconds from the start of an attempt (counted from 1) to the next one."""
    return FIRST_PAUSE_S * GROWTH ** (attempt - 1) * random.uniform(0.75, 1.0)


def _due() -> QuerySet[Request]:
    found: QuerySet[Request] = Request.objects.filter(
        status__in=ENDED, webhook_next_at__lte=timezone.now()
    )
    return found


def _send_job(request: Request) -> None:
    job_id = queue.new_job_id(request.pk, "webhook")
    unclaimed = _due().filter(pk=request.pk, webhook_job_id=request.webhook_job_id)
    if unclaimed.update(webhook_job_id=job_id):
        queue.send_webhook(request.pk, job_id)


def describe(request: Request) -> dict[str, Any]:
    """Return the JSON body of the webhook of a request."""
    return {
        "event": "request_ended",
        "request": request.id,
        "status": request.status,
        "function": {
            "id": request.function_id,
            "kind": request.function_kind,
            "version": request.function_version,
            "revision": request.function_revision,
        },
        "task": request.task_id,
        "job": request.job_id,
        "project": request.project_id,
        "frames": {
            "total": request.total,
            "done": request.done,
            "failed": request.failed,
            "skipped": request.skipped,
        },
        "shapes": request.shapes,
        "error": (
            {"code": request.error_code, "message": request.error_message}
            if request.error_code
            else None
        ),
        "started": _moment(request.started_at),
        "ended": _moment(request.ended_at),
    }


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature header of a body and its timestamp."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _attempt(request: Request) -> bool:
    """Send the webhook once; return whether it was delivered. Raise _Refused."""
    body = json.dumps(describe(request), separators=(",", ":")).encode()
    try:
        status = _post(body)
    except InvalidRequest as exc:
        logger.error("The webhook of %s was not sent: %s", request.pk, exc.message)
        raise _Refused from exc
    except (LambdaError, TransportError, OSError) as exc:
        logger.warning("The webhook of %s was not delivered: %s", request.pk, exc)
        return False
    if 200 <= status < 300:
        return True
    # A redirect is not followed: it may point to a host that is not allowed.
    logger.warning("The webhook of %s was answered with status %d", request.pk, status)
    if 300 <= status < 500 and status not in (408, 429):
        raise _Refused
    return False


def _post(body: bytes) -> int:
    server, path = split_url(settings.WEBHOOK_URL)
    timestamp = str(int(time.time()))
    headers = {"Content-Type": "application/json", "X-Cvat-Lambda-Timestamp": timestamp}
    if settings.WEBHOOK_SECRET:
        headers["X-Cvat-Lambda-Signature"] = sign(settings.WEBHOOK_SECRET, timestamp, body)
    connections = get_gateway().connections
    return connections.post(_checked(server), path, body, headers, timeout_s=TIMEOUT_S).status


def _checked(server: Server) -> Server:
    """Return the server with an address that was resolved once and is allowed.

    Raise InvalidRequest, PlatformUnreachable.
    """
    try:
        found = resolve(server.host, server.port)
    except OSError as exc:
        raise PlatformUnreachable(f"the webhook's host '{server.host}' is not known") from exc
    for address in found:
        if admits(settings.WEBHOOK_ALLOWED_HOSTS, server.host, address):
            return replace(server, ip=str(address))
    raise InvalidRequest(
        f"the host '{server.host}' is not allowed for webhooks; an administrator adds it to "
        "CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS"
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
