"""System checks of the standalone engine's settings."""

from __future__ import annotations

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register

from cvat_lambda.engine.standalone.conf import engine_settings


@register
def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: object
) -> list[CheckMessage]:
    """Check the types of the settings; report unknown and former names."""
    found: list[CheckMessage] = [
        Error(sentence, id="engine.E001") for sentence in engine_settings.wrong_values()
    ]
    found += [Warning(sentence, id="engine.W001") for sentence in engine_settings.former_names()]
    known = engine_settings.types()
    for prefix in (engine_settings.prefix, engine_settings.former_prefix):
        found += [
            Warning(f"{name} is not a setting of the standalone engine", id="engine.W002")
            for name in dir(django_settings)
            if name.startswith(prefix) and name.removeprefix(prefix) not in known
        ]
    return found
