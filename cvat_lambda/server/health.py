"""Health pages: ``/health`` (liveness) and ``/health/ready`` (readiness).

Liveness answers 200 while this process answers, and tells which processes are being restarted.
Readiness answers 503 while a component that the server needs does not work.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from pathlib import Path
from typing import Any, Final

import django_rq
import urllib3
from django.conf import settings as django_settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from rq import Worker

from cvat_lambda.conf import settings
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media.storage import object_store
from cvat_lambda.engine.standalone.quota import free_bytes
from cvat_lambda.redis_client import connect
from cvat_lambda.server.supervisor import read_states

CHECK_TIMEOUT_S: Final = 3.0
KEPT_S: Final = 2.0  # results are reused this long, so that many probes cost no more than one
WORKER_HEARTBEAT_S: Final = 480  # RQ's workers renew their registration within 420 s

_pool: Final = ThreadPoolExecutor(max_workers=8, thread_name_prefix="health")
_lock: Final = threading.Lock()
_last: dict[str, Any] = {"at": 0.0, "components": {}}


@never_cache
@require_GET
def live(request: HttpRequest) -> JsonResponse:
    """Answer 200. The body names processes that the supervisor is restarting."""
    body: dict[str, Any] = {"status": "ok"}
    processes = read_states(_home())
    if processes is not None:
        body["processes"] = processes
        if any(process["state"] != "running" for process in processes):
            body["status"] = "degraded"
    return JsonResponse(body)


@never_cache
@require_GET
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 if all components work, else 503. Addresses are not shown."""
    components = _components()
    is_ready = all(component["ok"] for component in components.values())
    body = {"status": "ready" if is_ready else "not ready", "components": components}
    return JsonResponse(body, status=200 if is_ready else 503)


def _components() -> dict[str, dict[str, Any]]:
    with _lock:
        if time.monotonic() - _last["at"] > KEPT_S:
            pending = {name: _pool.submit(CHECKS[name]) for name in _needed()}
            end = time.monotonic() + CHECK_TIMEOUT_S
            found = {}
            for name, future in pending.items():
                try:
                    problem = future.result(max(0.0, end - time.monotonic()))
                except TooSlow:
                    problem = f"no answer within {CHECK_TIMEOUT_S:.0f} s"
                except Exception as exc:
                    problem = f"does not answer ({type(exc).__name__})"
                found[name] = {"ok": not problem, "message": problem}
            _last.update(at=time.monotonic(), components=found)
        return dict(_last["components"])


def check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
    return ""


def check_redis() -> str:
    with connect() as client:
        client.ping()
    return ""


def check_workers() -> str:
    queue = django_rq.get_queue(settings.QUEUE)
    now = timezone.now().replace(tzinfo=None)
    for worker in Worker.all(queue=queue):
        beat = worker.last_heartbeat
        age_s = WORKER_HEARTBEAT_S if beat is None else (now - beat.replace(tzinfo=None)).seconds
        if age_s < WORKER_HEARTBEAT_S:
            return ""
    return f"no worker takes requests from the queue '{settings.QUEUE}'"


def check_platform() -> str:
    url = settings.PLATFORM_URL.rstrip("/") + "/api/functions"
    headers = {"x-nuclio-function-namespace": settings.PLATFORM_NAMESPACE}
    if settings.PLATFORM_TOKEN:
        headers["Authorization"] = f"Bearer {settings.PLATFORM_TOKEN}"
    with urllib3.PoolManager(timeout=2.0, retries=False) as pool:
        status = pool.request("GET", url, headers=headers, preload_content=False).status
    return "" if status < 400 else f"the function platform answers with status {status}"


def check_disk() -> str:
    for folder in {_home(), Path(django_settings.MEDIA_ROOT)}:
        free = free_bytes(folder)
        if free < engine_settings.MIN_FREE_DISK_BYTES:
            return f"the disk is full: {free // 1024**2} MiB are free"
    return ""


def _home() -> Path:
    return Path(django_settings.HOME)


def check_storage() -> str:
    store = object_store()
    if store is not None:
        store.exists("engine")
    return ""


CHECKS: Final[dict[str, Callable[[], str]]] = {
    "database": check_database,
    "redis": check_redis,
    "workers": check_workers,
    "platform": check_platform,
    "disk": check_disk,
    "storage": check_storage,
}
# A host's own components, by its role.
NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "web": ("database", "redis", "workers", "platform", "disk", "storage"),
    "workers": ("database", "redis", "platform", "disk", "storage"),
    "runtime": ("platform", "disk"),
}


def _needed() -> list[str]:
    """Return the components that this host needs for its roles."""
    roles = os.environ.get("CVAT_LAMBDA_ROLES", "web").split(",")
    needed = {name for role in roles for name in NEEDED.get(role, ())}
    return [name for name in CHECKS if name in needed]
