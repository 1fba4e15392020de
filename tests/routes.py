"""The endpoints of the server, read from its URL configuration. Tests compare tables with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, resolve

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Endpoint:
    """The name of a route, and a method."""

    name: str
    method: str

    @classmethod
    def of(cls, method: str, path: str) -> Endpoint:
        """Return the endpoint of a path. ``{placeholders}`` in the path are filled."""
        found = resolve(re.sub(r"\{\w+\}", "1", path.split("?")[0]))
        return cls(name=found.url_name or "", method=method)


def routes(prefix: str) -> dict[str, Any]:
    """Return the view functions of routes with a prefix, by the names of the routes."""
    return {
        str(pattern.name): pattern.callback
        for route, pattern in _walk(get_resolver())
        if route.startswith(prefix)
    }


def defined(views: dict[str, Any]) -> set[Endpoint]:
    """Return every method of class-based views with a handler, and HEAD only if GET has none."""
    return {Endpoint(name, method) for name, view in views.items() for method in _methods(view)}


def undefined(views: dict[str, Any]) -> list[Endpoint]:
    """Return every method without a handler."""
    known = defined(views)
    every = [Endpoint(name, method) for name in sorted(views) for method in METHODS]
    heads = [Endpoint(name, "HEAD") for name in sorted(views) if Endpoint(name, "GET") not in known]
    return [endpoint for endpoint in (*every, *heads) if endpoint not in known]


def samples(paths: Iterable[str]) -> dict[str, str]:
    """Return a path for each route, by the name of the route."""
    return {Endpoint.of("GET", path).name: path.split("?")[0] for path in paths}


def _methods(view: Any) -> set[str]:
    actions = getattr(view, "actions", None)  # of a viewset
    if actions is None:
        cls = getattr(view, "cls", None) or view.view_class
        actions = {name: name for name in cls.http_method_names if hasattr(cls, name)}
    found = {name.upper() for name in actions} - {"OPTIONS"}
    return found - {"HEAD"} if "GET" in found else found


def _walk(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, route)
        else:
            yield route, pattern
