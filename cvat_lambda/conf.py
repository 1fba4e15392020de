"""The app's settings: one typed class, defaults beside the names, read when they are used.

Each is a Django setting ``CVAT_LAMBDA_<NAME>``. `from_environment` gives those that the process'
environment sets, strictly parsed, for a settings module to include. ``manage.py check`` reports
what is wrong (`cvat_lambda.checks`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

PREFIX = "CVAT_LAMBDA_"


class Settings:
    """Names, types and defaults. Durations end in ``_S`` (seconds), sizes in ``_BYTES``."""

    # The engine adapter (a dotted path) and the RQ queue of background requests.
    ENGINE: str = "cvat_lambda.engine.standalone.adapter.StandaloneEngine"
    QUEUE: str = "annotation"
    JOB_TIMEOUT_S: int = 24 * 3600

    # The function platform.
    PLATFORM_URL: str = "http://127.0.0.1:8070"
    PLATFORM_TOKEN: str = ""
    PLATFORM_NAMESPACE: str = "nuclio"
    PLATFORM_PROJECT: str = "cvat"  # "": functions of every project
    INVOKE_METHOD: str = "auto"  # auto | direct | dashboard
    CONNECT_TIMEOUT_S: float = 5.0
    CALL_TIMEOUT_S: float = 120.0  # of a function that declares no eventTimeout
    FUNCTIONS_REFRESH_S: float = 30.0
    COLD_START_S: float = 120.0  # how long a request waits for a function that starts
    MAX_ATTEMPTS: int = 5  # invocations of one frame before it counts as failed
    ENDPOINT_ALLOWED_HOSTS: tuple[str, ...] = ()  # hosts, *.domains or networks of HTTP endpoints

    # Background requests.
    BATCH_FRAMES: int = 64  # frames written in one transaction, at most
    BATCH_S: float = 1.0  # seconds between two writes, at most
    READ_AHEAD_BYTES: int = 64 * 1024 * 1024
    MAX_IN_FLIGHT: int = 64
    HEARTBEAT_S: float = 5.0
    STALLED_AFTER_S: float = 60.0
    MAX_RESUMES: int = 5
    MAX_FAILURE_RATE: float = 0.5  # of the frames seen, once MIN_FRAMES_FOR_FAILURE_RATE are
    MIN_FRAMES_FOR_FAILURE_RATE: int = 20
    SHARD_FRAMES: int = 0  # > 0: a request is split into shards of about so many frames
    KEEP_REQUESTS_DAYS: int = 90

    # Calls.
    TRACKER_STATE_MAX_AGE_S: int = 8 * 3600
    EMBEDDING_CACHE_BYTES: int = 512 * 1024 * 1024
    EMBEDDING_TTL_S: int = 24 * 3600
    ROI_JPEG_QUALITY: int = 95

    # The end of a request told to others.
    WEBHOOK_URL: str = ""
    WEBHOOK_SECRET: str = ""
    WEBHOOK_ALLOWED_HOSTS: tuple[str, ...] = ()

    # Inside a CVAT server: connections to PostgreSQL that a web process keeps for its next
    # requests; 0: each request opens its own.
    KEPT_DATABASE_CONNECTIONS: int = 4

    # Redis of the app's own caches; "": that of the RQ queue.
    REDIS_URL: str = ""

    def __getattribute__(self, name: str) -> Any:
        if name.isupper():
            return getattr(django_settings, PREFIX + name, getattr(Settings, name))
        return super().__getattribute__(name)


settings = Settings()


def names() -> dict[str, Any]:
    """Every setting's name and declared type."""
    return {name: hint for name, hint in get_type_hints(Settings).items() if name.isupper()}


def _parse(name: str, text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if hint in (int, float):
        return hint(text)
    if hint is bool:
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        return words[text.strip().lower()]
    if text.lstrip().startswith("["):
        return tuple(str(item) for item in json.loads(text))
    return tuple(item.strip() for item in text.split(",") if item.strip())


def from_environment(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """``CVAT_LAMBDA_*`` of the environment as Django settings. Raise ImproperlyConfigured."""
    found: dict[str, Any] = {}
    for name, hint in names().items():
        text = environ.get(PREFIX + name)
        if text is None:
            continue
        try:
            found[PREFIX + name] = _parse(name, text, hint)
        except (ValueError, KeyError) as exc:
            raise ImproperlyConfigured(
                f"{PREFIX}{name}={text!r} is not a valid {getattr(hint, '__name__', hint)}"
            ) from exc
    return found
