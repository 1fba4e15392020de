"""The base class of the lambda API's viewsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from rest_framework import exceptions, viewsets
from rest_framework.request import Request as HttpRequest

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access
from cvat_lambda.errors import TargetNotFound
from cvat_lambda.rest.parsers import StrictJSONParser
from cvat_lambda.rest.views import JsonErrors


@contextmanager
def unknown_targets_answer_400() -> Iterator[None]:
    """Answer 400, as CVAT does, if the body names a task, job or project that does not exist."""
    try:
        yield
    except TargetNotFound as exc:
        exc.status_code = 400
        raise


class LambdaViewSet(JsonErrors, viewsets.ViewSet):
    """A viewset for authenticated users, in a CVAT server and standalone.

    CVAT's policy enforcer asks every view for ``iam_permission_class`` and
    ``iam_organization_field``; the CVAT adapter sets the former. Standalone it stays None.
    """

    iam_permission_class: Any = None
    iam_organization_field: str | None = None
    # Checks the query string before CVAT reads it; the CVAT adapter sets it.
    check_query: ClassVar[Callable[[HttpRequest], None]] = staticmethod(lambda request: None)
    serializer_class = None
    parser_classes = (StrictJSONParser,)

    def check_permissions(self, request: HttpRequest) -> None:
        """Refuse anonymous users, whatever the server's default permissions are."""
        type(self).check_query(request)
        super().check_permissions(request)
        if not request.user or not request.user.is_authenticated:
            raise exceptions.NotAuthenticated

    def access(self) -> Access:
        """Return the rights of the user of this HTTP request."""
        return get_engine().access(self.request)

    def check_detail(self, value: object) -> None:
        """Run CVAT's check of a detail route, which CVAT leaves to each view."""
        self.check_object_permissions(self.request, value)
