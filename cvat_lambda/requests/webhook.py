"""The end of a request told to a URL: signed, with retries, to allowed hosts only.

The body is JSON; ``X-Cvat-Lambda-Signature`` is ``sha256=`` and the HMAC-SHA256, in hex, of
timestamp, a dot and the body, with ``WEBHOOK_SECRET`` as the key. ``X-Cvat-Lambda-Timestamp`` is
the time of sending in seconds, so that a receiver can refuse what is old.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import random
import socket
import time
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from cvat_lambda.conf import settings
from cvat_lambda.errors import InvalidRequest, LambdaError, PlatformUnreachable
from cvat_lambda.gateway.hosts import admits, split_url
from cvat_lambda.gateway.http import Server, TransportError, pool
from cvat_lambda.requests.models import ENDED, Request

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 5
FIRST_DELAY_S: Final = 0.5


def deliver(request_id: str) -> bool:
    """Send the end of a request, several times if need be; whether it arrived.

    Sent again it does nothing once it was delivered or given up.
    """
    request = Request.objects.filter(pk=request_id, status__in=ENDED, notified_at=None).first()
    if request is None or not settings.WEBHOOK_URL:
        return False
    body = json.dumps(describe(request), separators=(",", ":")).encode()
    arrived = _send_patiently(request_id, body)
    Request.objects.filter(pk=request_id).update(notified_at=timezone.now())
    return arrived


def describe(request: Request) -> dict[str, Any]:
    """What the webhook tells of a request."""
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
    """The signature header of a body sent at a time."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _send_patiently(request_id: str, body: bytes) -> bool:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_DELAY_S * 2**attempt * random.uniform(0.5, 1.0))
        try:
            status = _send(body)
        except InvalidRequest as exc:
            logger.error("The webhook of %s was not sent: %s", request_id, exc.message)
            return False
        except (LambdaError, TransportError, OSError) as exc:
            logger.warning("The webhook of %s did not arrive: %s", request_id, exc)
            continue
        if 200 <= status < 300:
            return True
        # A redirect is not followed: it may lead to a host that is not allowed.
        logger.warning("The webhook of %s was answered with status %d", request_id, status)
        if 300 <= status < 500 and status not in (408, 429):
            return False
    logger.error("The webhook of %s is given up", request_id, extra={"action": "webhook_lost"})
    return False


def _send(body: bytes) -> int:
    server, path = split_url(settings.WEBHOOK_URL)
    timestamp = str(int(time.time()))
    headers = {"Content-Type": "application/json", "X-Cvat-Lambda-Timestamp": timestamp}
    if settings.WEBHOOK_SECRET:
        headers["X-Cvat-Lambda-Signature"] = sign(settings.WEBHOOK_SECRET, timestamp, body)
    return pool.post(_checked(server), path, body, headers, timeout_s=TIMEOUT_S).status


def _checked(server: Server) -> Server:
    """The server at the one address that was resolved and checked. Raise InvalidRequest."""
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise PlatformUnreachable(f"the webhook's host '{server.host}' is not known") from exc
    for item in found:
        address = ipaddress.ip_address(str(item[4][0]).partition("%")[0])
        if admits(settings.WEBHOOK_ALLOWED_HOSTS, server.host, address):
            return replace(server, ip=str(address))
    raise InvalidRequest(
        f"the host '{server.host}' is not allowed for webhooks; an administrator adds it to "
        "CVAT_LAMBDA_WEBHOOK_ALLOWED_HOSTS"
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
