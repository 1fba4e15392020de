"""The owner of tasks, frames, labels and annotations. `get_engine` returns the configured one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from cvat_lambda.conf import settings

if TYPE_CHECKING:
    from cvat_lambda.engine.port import Engine

NOT_SET = (
    "CVAT_LAMBDA_ENGINE is not set. Set it to the dotted path of an engine class;"
    " the settings of the standalone server and of the CVAT integration set it."
)


def get_engine() -> Engine:
    """Return the engine that ``CVAT_LAMBDA_ENGINE`` names. Raise ImproperlyConfigured."""
    if not settings.ENGINE:
        raise ImproperlyConfigured(NOT_SET)
    return _engine(settings.ENGINE)


@lru_cache(maxsize=4)
def _engine(path: str) -> Engine:
    engine: Engine = import_string(path)()
    return engine
