"""The style sheet and scripts of the pages, served under a path that changes with their content.

The app serves these files itself, so that a CVAT server needs no ``collectstatic`` and no change of
its web proxy. The path contains a digest of all files; browsers keep them without asking again.
Modules import each other by relative paths and so get the same version.
"""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET

_OURS: Final = Path(__file__).resolve().parent / "static" / "cvat_lambda"
_HTMX: Final = ("htmx-2.min.js", "htmx.min.js")  # by the version of django-htmx


@cache
def _files() -> dict[str, Path]:
    """Return the files by the name under which they are served."""
    found = {
        path.relative_to(_OURS).as_posix(): path
        for path in sorted(_OURS.rglob("*"))
        if path.is_file()
    }
    spec = find_spec("django_htmx")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "static" / "django_htmx"
        found["htmx.js"] = next(folder / name for name in _HTMX if (folder / name).is_file())
    return found


@cache
def _version() -> str:
    digest = hashlib.blake2b(digest_size=6)
    for name, path in _files().items():
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def asset_url(name: str) -> str:
    """Return the URL of a file."""
    return reverse("console:asset", kwargs={"version": _version(), "name": name})


@require_GET
def asset(request: HttpRequest, version: str, name: str) -> HttpResponse:
    """Answer a file; it needs no login."""
    path = _files().get(name)
    if path is None:
        raise Http404("There is no such file.")
    kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(name)[0]
    response = HttpResponse(path.read_bytes(), content_type=kind)
    fresh = "public, max-age=31536000, immutable" if version == _version() else "no-cache"
    response.headers["Cache-Control"] = fresh
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
