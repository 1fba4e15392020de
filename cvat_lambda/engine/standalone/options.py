"""Settings of the embedded engine: ``CVAT_LAMBDA_HOST_<NAME>`` of Django, read at use time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

PREFIX = "CVAT_LAMBDA_HOST_"


class Options:
    """Names, types and defaults. Sizes end in ``_BYTES``, durations in ``_S``."""

    # Uploads larger than this are unpacked behind the request; the client polls for the end.
    INLINE_UPLOAD_BYTES: int = 64 * 1024 * 1024
    # What one task's upload may hold at most, packed and unpacked.
    MAX_UPLOAD_BYTES: int = 64 * 1024**3
    # Images of more pixels than this are refused (a decompression bomb).
    MAX_IMAGE_PIXELS: int = 512 * 1024 * 1024
    # Files fetched by the server from elsewhere: off, or from these hosts, *.domains or networks.
    REMOTE_FILES: bool = False
    REMOTE_FILES_ALLOWED_HOSTS: tuple[str, ...] = ()
    REMOTE_FILES_TIMEOUT_S: float = 30.0
    # A folder whose files may be named in ``server_files``; "": none.
    SHARE_ROOT: str = ""
    # Frames in one chunk of ``?type=chunk``.
    CHUNK_FRAMES: int = 36
    # How long a background upload may show no sign of life before another process takes it over.
    UPLOAD_STALLED_AFTER_S: float = 120.0

    def __getattribute__(self, name: str) -> Any:
        if name.isupper():
            return getattr(django_settings, PREFIX + name, getattr(Options, name))
        return super().__getattribute__(name)


options = Options()

_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _parse(text: str, hint: Any) -> Any:
    if hint is bool:
        return _BOOLEANS[text.strip().lower()]
    if hint in (str, int, float):
        return hint(text)
    if text.lstrip().startswith("["):
        return tuple(str(item) for item in json.loads(text))
    return tuple(item.strip() for item in text.split(",") if item.strip())


def from_environment(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """``CVAT_LAMBDA_HOST_*`` of the environment as Django settings. Raise ImproperlyConfigured."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(Options).items():
        text = environ.get(PREFIX + name)
        if not name.isupper() or text is None:
            continue
        try:
            found[PREFIX + name] = _parse(text, hint)
        except (ValueError, KeyError) as exc:
            raise ImproperlyConfigured(f"{PREFIX}{name}={text!r} is not valid") from exc
    return found
