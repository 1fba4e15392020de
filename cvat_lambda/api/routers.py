"""URLs of the lambda API, without a trailing slash, as CVAT's clients call them."""

from __future__ import annotations

from rest_framework.routers import Route, SimpleRouter


class LambdaRouter(SimpleRouter):
    """A router whose detail route also takes POST as the action ``call``.

    The routes are those of a subclass: REST framework stores them on the class, and a change there
    would affect all routers of the process.
    """

    routes = [
        Route(
            url=route.url,
            mapping={**route.mapping, "post": "call"},
            name=route.name,
            detail=route.detail,
            initkwargs=route.initkwargs,
        )
        if isinstance(route, Route) and route.detail
        else route
        for route in SimpleRouter.routes
    ]

    def __init__(self) -> None:
        super().__init__(trailing_slash=False)
