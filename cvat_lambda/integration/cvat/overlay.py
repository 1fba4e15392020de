"""CVAT's settings with this app in place of ``cvat.apps.lambda_manager``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

REPLACED: Final = "cvat.apps.lambda_manager"
APPS: Final = ("cvat_lambda", "cvat_lambda.integration.cvat", "cvat_lambda.web")
URLS: Final = "cvat_lambda.integration.cvat.urls"
ENGINE: Final = "cvat_lambda.engine.cvat.adapter.CvatEngine"
MIDDLEWARE: Final = "cvat_lambda.observability.middleware.RequestContext"
NATIVE_FUNCTIONS: Final = "native_function"  # the basename of their view
DATABASE: Final = "cvat_lambda.integration.cvat.database"  # Django's own, with a connection pool


def overlay(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from CVAT's.

    CVAT's ``CVAT_NUCLIO_*`` variables name the function platform. A variable
    ``CVAT_LAMBDA_PLATFORM_*`` has precedence over them.
    """
    nuclio = settings["NUCLIO"]
    return {
        "INSTALLED_APPS": _apps(settings["INSTALLED_APPS"]),
        "MIDDLEWARE": [*settings.get("MIDDLEWARE", ()), MIDDLEWARE],
        "DATABASES": _databases(settings.get("DATABASES", {})),
        # CVAT would read the organization of an object of any other view.
        "OBJECTS_NOT_RELATED_WITH_ORG": [
            *settings.get("OBJECTS_NOT_RELATED_WITH_ORG", ()),
            NATIVE_FUNCTIONS,
        ],
        "ROOT_URLCONF": URLS,
        "CVAT_LAMBDA_ENGINE": ENGINE,
        "CVAT_LAMBDA_QUEUE": settings["CVAT_QUEUES"].AUTO_ANNOTATION.value,
        "CVAT_LAMBDA_PLATFORM_URL": f"{nuclio['SCHEME']}://{nuclio['HOST']}:{nuclio['PORT']}",
        "CVAT_LAMBDA_PLATFORM_NAMESPACE": nuclio["FUNCTION_NAMESPACE"],
        "CVAT_LAMBDA_CALL_TIMEOUT_S": float(nuclio["DEFAULT_TIMEOUT"]),
        "CVAT_LAMBDA_INVOKE_METHOD": nuclio["INVOKE_METHOD"],
    }


def _apps(installed: list[str]) -> list[str]:
    if REPLACED not in installed:
        return [*installed, *APPS]
    place = installed.index(REPLACED)
    return [*installed[:place], *APPS, *installed[place + 1 :]]


def _databases(databases: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(databases)
    default = found.get("default", {})
    if default.get("ENGINE") == "django.db.backends.postgresql":
        found["default"] = {**default, "ENGINE": DATABASE}
    return found


def enable_models_page() -> None:
    """Set the variable without which CVAT's pages hide functions. Keep a value that is set."""
    os.environ.setdefault("CVAT_SERVERLESS", "1")
