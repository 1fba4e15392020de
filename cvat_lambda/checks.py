"""System checks: ``manage.py check`` reports wrong settings of the app."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from cvat_lambda.conf import PREFIX, settings

INVOKE_METHODS = ("auto", "direct", "dashboard")
DEFAULT_REPLACE = ("none", "function")
# Settings of the standalone engine, which checks them itself; HOST_ is their former prefix.
OTHER_PREFIXES = (f"{PREFIX}STANDALONE_", f"{PREFIX}HOST_")
POSITIVE = (
    "AGENT_LEASE_S",
    "AGENT_MAX_WORK_S",
    "AGENT_MISSING_AFTER_S",
    "AGENT_POLL_S",
    "BATCH_FRAMES",
    "BATCH_S",
    "CALL_TIMEOUT_S",
    "CONNECT_TIMEOUT_S",
    "HEARTBEAT_S",
    "JOB_TIMEOUT_S",
    "MAX_ATTEMPTS",
    "MAX_IN_FLIGHT",
    "READ_AHEAD_BYTES",
    "STALLED_AFTER_S",
    "TRACKER_STATE_MAX_AGE_S",
)


@register
def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: object
) -> list[CheckMessage]:
    """Check the types and ranges of the settings, and report unknown ones."""
    found: list[CheckMessage] = [
        Error(sentence, id="cvat_lambda.E001") for sentence in settings.wrong_values()
    ]
    if found:
        return found
    known = settings.types()
    found += [
        Warning(f"{name} is not a setting of cvat_lambda", id="cvat_lambda.W001")
        for name in dir(django_settings)
        if name.startswith(PREFIX)
        and not name.startswith(OTHER_PREFIXES)
        and name.removeprefix(PREFIX) not in known
    ]
    return found + _ranges() + _engine() + _base64()


def _base64() -> list[CheckMessage]:
    """Warn of a pybase64 for another version of Python: its C part is missing, unnoticed."""
    if find_spec("pybase64") is None or find_spec("pybase64._pybase64") is not None:
        return []
    return [
        Warning(
            "pybase64 has no compiled part for this version of Python, so images are encoded three"
            " times slower: install it with this Python, or build the stage `package` of the"
            " Dockerfile with --build-arg PYTHON_VERSION",
            id="cvat_lambda.W004",
        )
    ]


def _ranges() -> list[CheckMessage]:
    found: list[CheckMessage] = [
        Error(f"{PREFIX}{name} must be above 0", id="cvat_lambda.E002")
        for name in POSITIVE
        if getattr(settings, name) <= 0
    ]
    if settings.INVOKE_METHOD not in INVOKE_METHODS:
        found.append(
            Error(
                f"{PREFIX}INVOKE_METHOD must be one of {', '.join(INVOKE_METHODS)}",
                id="cvat_lambda.E003",
            )
        )
    if settings.DEFAULT_REPLACE not in DEFAULT_REPLACE:
        found.append(
            Error(
                f"{PREFIX}DEFAULT_REPLACE must be one of {', '.join(DEFAULT_REPLACE)}",
                id="cvat_lambda.E007",
            )
        )
    if not 0 <= settings.MAX_FAILURE_RATE <= 1:
        found.append(Error(f"{PREFIX}MAX_FAILURE_RATE must be in [0, 1]", id="cvat_lambda.E004"))
    if urlsplit(settings.PLATFORM_URL).scheme not in ("http", "https"):
        found.append(
            Error(
                f"{PREFIX}PLATFORM_URL must start with http:// or https://", id="cvat_lambda.E005"
            )
        )
    if settings.STALLED_AFTER_S < 3 * settings.HEARTBEAT_S:
        found.append(
            Warning(
                f"{PREFIX}STALLED_AFTER_S is less than three heartbeats: "
                "a busy worker may be taken for a dead one",
                id="cvat_lambda.W002",
            )
        )
    if settings.WEBHOOK_URL and not settings.WEBHOOK_SECRET:
        found.append(
            Warning(
                f"{PREFIX}WEBHOOK_SECRET is empty: webhooks are unsigned", id="cvat_lambda.W003"
            )
        )
    return found


def _engine() -> list[CheckMessage]:
    if not settings.ENGINE:
        message = f"{PREFIX}ENGINE is not set: no engine owns tasks and annotations"
        hint = (
            "Use the settings of the standalone server (cvat_lambda.server.settings) or of the"
            " CVAT integration (cvat_lambda.integration.cvat.settings), or name an engine class."
        )
        return [Error(message, hint=hint, id="cvat_lambda.E008")]
    try:
        import_string(settings.ENGINE)
    except ImportError as exc:
        return [Error(f"{PREFIX}ENGINE cannot be imported: {exc}", id="cvat_lambda.E006")]
    return []
