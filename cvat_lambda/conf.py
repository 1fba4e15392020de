"""Typed settings: each name has a type and a default here, and is read when it is used.

A setting of the app is the Django setting ``CVAT_LAMBDA_<NAME>``. A settings module includes
`from_environment` to take the values that environment variables of the same names give.
``manage.py check`` reports wrong values (`cvat_lambda.checks`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, get_origin, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

PREFIX = "CVAT_LAMBDA_"
_MISSING = object()


class TypedSettings:
    """Django settings with a common prefix. The class attributes declare types and defaults."""

    prefix = PREFIX
    former_prefix = ""  # still read; `manage.py check` names the new name

    def __getattribute__(self, name: str) -> Any:
        if not name.isupper():
            return super().__getattribute__(name)
        kind = type(self)  # an attribute of ``self`` would call this method again
        value = getattr(django_settings, kind.prefix + name, _MISSING)
        if value is _MISSING and kind.former_prefix:
            value = getattr(django_settings, kind.former_prefix + name, _MISSING)
        if value is _MISSING:
            value = getattr(kind, name)
            # Django keeps values here until a setting changes, but not that a setting is missing.
            # To find that out takes ten times as long, and a call reads twenty settings.
            django_settings.__dict__[kind.prefix + name] = value
        return value

    @classmethod
    def types(cls) -> dict[str, Any]:
        """Return the declared type of every setting, by name without the prefix."""
        return {name: hint for name, hint in get_type_hints(cls).items() if name.isupper()}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """Return the environment's values as Django settings. Raise ImproperlyConfigured."""
        found: dict[str, Any] = {}
        for name, hint in cls.types().items():
            for variable in (cls.prefix + name, cls.former_prefix and cls.former_prefix + name):
                text = environ.get(variable) if variable else None
                if text is not None:
                    found[variable] = _parse(variable, text, hint)
        return found

    def wrong_values(self) -> Iterator[str]:
        """Yield a sentence for each setting whose value does not have the declared type."""
        for name, hint in self.types().items():
            value = getattr(self, name)
            if not _fits(value, hint):
                yield f"{self.prefix}{name} must be a {_type_name(hint)}, not {value!r}"

    def former_names(self) -> Iterator[str]:
        """Yield a sentence for each setting that still has its former name."""
        for name in self.types():
            if self.former_prefix and hasattr(django_settings, self.former_prefix + name):
                yield (
                    f"{self.former_prefix}{name} is now called {self.prefix}{name};"
                    " the next version no longer reads the former name"
                )


class Settings(TypedSettings):
    """The settings of the app. Durations end in ``_S`` (seconds), sizes in ``_BYTES``."""

    # The dotted path of the engine class. Each settings module of the project sets it.
    ENGINE: str = ""
    # The RQ queue of background requests.
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
    FORGET_FUNCTIONS_DAYS: int = 30  # as missing; 0: kept for ever
    COLD_START_S: float = 120.0  # how long a request waits for a function that starts
    MAX_ATTEMPTS: int = 5  # invocations of one frame before it counts as failed
    ENDPOINT_ALLOWED_HOSTS: tuple[str, ...] = ()  # hosts, *.domains or networks of HTTP endpoints

    # Agents of native functions.
    AGENT_LEASE_S: float = 60.0  # of a function without its own time limit
    AGENT_MAX_WORK_S: float = 600.0  # on one frame, however often the agent renews its lease
    AGENT_MISSING_AFTER_S: float = 90.0  # agents poll every 60 s, or keep an event stream open
    AGENT_POLL_S: float = 5.0  # where the web server cannot keep event streams open

    # Background requests.
    DEFAULT_REPLACE: str = "function"  # none | function; of requests without replace and cleanup
    BATCH_FRAMES: int = 64  # frames written in one transaction, at most
    BATCH_S: float = 1.0  # seconds between two writes, at most
    READ_AHEAD_BYTES: int = 64 * 1024 * 1024
    MAX_IN_FLIGHT: int = 64
    HEARTBEAT_S: float = 5.0
    STALLED_AFTER_S: float = 60.0
    MAX_RESUMES: int = 5
    MAX_FAILURE_RATE: float = (
        0.5  # of the frames with an outcome, from MIN_FRAMES_FOR_FAILURE_RATE on
    )
    MIN_FRAMES_FOR_FAILURE_RATE: int = 20
    MAX_CHECKPOINT_BYTES: int = 64 * 1024 * 1024  # states of tracked objects, compressed
    SHARD_FRAMES: int = 0  # > 0: requests are split into shards of about this many frames
    HELPER_PROCESSES: int = 3  # of one run, at most; 0: none
    HELPER_PROCESSOR_SHARE: float = 0.8  # of a core, from which a run starts a helper process
    HELPER_MIN_REMAINING_S: float = 30.0  # a run that ends sooner starts none
    KEEP_REQUESTS_DAYS: int = 90

    # Calls. The counts are of calls in progress in one process; 0: no limit.
    MAX_CALLS_PER_USER: int = 8
    MAX_CALLS_PER_FUNCTION: int = 12
    MAX_CALLS: int = 0
    TRACKER_STATE_MAX_AGE_S: int = 8 * 3600
    EMBEDDING_CACHE_BYTES: int = 512 * 1024 * 1024
    EMBEDDING_TTL_S: int = 24 * 3600
    ROI_JPEG_QUALITY: int = 95

    # The webhook at the end of a request.
    WEBHOOK_URL: str = ""
    WEBHOOK_SECRET: str = ""
    WEBHOOK_ALLOWED_HOSTS: tuple[str, ...] = ()

    # Inside a CVAT server: connections to PostgreSQL that a web process keeps for its next
    # requests; 0: each request opens its own.
    KEPT_DATABASE_CONNECTIONS: int = 4
    # Inside a CVAT server: how long a call does not repeat a question to the policy server that was
    # answered with "allowed"; 0: each call asks.
    KEPT_PERMISSIONS_S: float = 10.0

    # Make OpenTelemetry spans of requests and invocations; `opentelemetry-api` must be installed.
    TRACES: bool = False

    # Redis of the app's own caches; "": that of the RQ queue.
    REDIS_URL: str = ""


settings = Settings()
from_environment = Settings.from_environment

_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _parse(variable: str, text: str, hint: Any) -> Any:
    try:
        if hint is bool:
            return _BOOLEANS[text.strip().lower()]
        if hint in (str, int, float):
            return hint(text)
        if text.lstrip().startswith("["):
            return tuple(str(item) for item in json.loads(text))
    except (ValueError, KeyError) as exc:
        raise ImproperlyConfigured(
            f"{variable}={text!r} is not a valid {_type_name(hint)}"
        ) from exc
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, (tuple, list)) and all(isinstance(item, str) for item in value)
    if hint in (int, float):
        kinds = (int, float) if hint is float else int
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, hint)


def _type_name(hint: Any) -> str:
    return "list of texts" if get_origin(hint) is tuple else str(hint.__name__)
