"""What the server answers to, read off its URL configuration: to compare tables of tests with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, resolve

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Endpoint:
    """A route by its name, and a method."""

    name: str
    method: str

    @classmethod
    def of(cls, method: str, path: str) -> Endpoint:
        """The endpoint that answers a path; ``{placeholders}`` in it are filled."""
        found = resolve(re.sub(r"\{\w+\}", "1", path.split("?")[0]))
        return cls(name=found.url_name or "", method=method)


def routes(prefix: str) -> dict[str, Any]:
    """View functions by the names of their routes, of the routes that begin so."""
    return {
        str(pattern.name): pattern.callback
        for route, pattern in _walk(get_resolver())
        if route.startswith(prefix)
    }


def defined(views: dict[str, Any]) -> set[Endpoint]:
    """Every method of class-based views that has a handler; HEAD where it is no mere GET."""
    return {Endpoint(name, method) for name, view in views.items() for method in _methods(view)}


def undefined(views: dict[str, Any]) -> list[Endpoint]:
    """Every other method."""
    known = defined(views)
    every = [Endpoint(name, method) for name in sorted(views) for method in METHODS]
    heads = [Endpoint(name, "HEAD") for name in sorted(views) if Endpoint(name, "GET") not in known]
    return [endpoint for endpoint in (*every, *heads) if endpoint not in known]


def samples(paths: Iterable[str]) -> dict[str, str]:
    """A path of each route, by its name."""
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
