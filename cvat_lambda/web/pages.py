"""What all pages share: the login, the headers, the rights of the user, and error pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Final

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_http_methods
from rest_framework.exceptions import APIException

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.errors import LambdaError, PermissionDenied
from cvat_lambda.requests.control.access import find_request
from cvat_lambda.requests.store.models import Request
from cvat_lambda.web.links import is_standalone
from cvat_lambda.web.security import POLICY

View = Callable[..., HttpResponseBase]

_CVAT_LOGIN: Final = "/auth/login"


class Rights:
    """Whether users may use the pages at all, beside their rights to tasks and requests.

    ``allows`` takes an HTTP request, an action of the API's requests (``list``, ``retry``, ...) and
    the id of a request or None. The CVAT adapter sets it; standalone every user may use the pages.
    """

    allows: ClassVar[Callable[[HttpRequest, str, str | None], bool]] = staticmethod(
        lambda request, action, request_id: True
    )


def require(request: HttpRequest, action: str, request_id: str | None = None) -> None:
    """Raise PermissionDenied unless the user may do this by the API's own rules."""
    if not Rights.allows(request, action, request_id):
        raise PermissionDenied("your role in CVAT does not allow this")


def page(*methods: str) -> Callable[[View], View]:
    """Make a view answer these methods to users who are logged in, with the pages' headers.

    An error that the view raises, of this app or of CVAT, becomes an error page.
    """

    def decorate(view: View) -> View:
        @require_http_methods(list(methods))
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                require(request, "list")
                response = view(request, *args, **kwargs)
            except Http404 as exc:
                response = error_page(request, 404, str(exc))
            except LambdaError as exc:
                response = error_page(request, exc.status_code, exc.message)
            except APIException as exc:  # of CVAT's middleware: an organization that is unknown
                response = error_page(request, exc.status_code, str(exc.detail))
            response.headers.setdefault("Content-Security-Policy", POLICY)
            patch_cache_control(response, private=True)
            return response

        # The login comes before the method, so that strangers learn nothing from a 405.
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _log_in(request)
            return answer(request, *args, **kwargs)

        return guarded

    return decorate


def show(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """Render a page of this app."""
    return render(request, f"cvat_lambda/{template}", context, status=status)


def error_page(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """Render the page of an error."""
    return show(request, "error.html", {"status": status, "message": message}, status=status)


def access_of(request: HttpRequest) -> Access:
    """Return the rights of the user."""
    return get_engine().access(request)  # type: ignore[arg-type]  # has .user, as DRF's has


def task_of(request: HttpRequest, task_id: int) -> Task:
    """Return a task that the user may view. Raise TaskNotFound, PermissionDenied."""
    access_of(request).require_task(task_id, "view")
    return get_engine().task(task_id)


def task_of_frame(request: HttpRequest, task_id: int, number: int) -> Task:
    """Return the task of a frame that the user may view. Raise TaskNotFound, PermissionDenied.

    In CVAT the assignee of a job may view the frames of the job, but not the task.
    """
    try:
        return task_of(request, task_id)
    except PermissionDenied:
        task = get_engine().task(task_id)
        job_ids = [job.id for job in task.jobs if number in job.frames]
        if not access_of(request).viewable_job_ids(job_ids):
            raise
        return task


def request_of(request: HttpRequest, request_id: str) -> Request:
    """Return a background request that the user may view. Raise Http404, RequestNotFound."""
    if "\x00" in request_id:  # PostgreSQL refuses NUL in a query
        raise Http404("The request was not found.")
    return find_request(access_of(request), request_id)


def _log_in(request: HttpRequest) -> HttpResponse:
    if is_standalone():
        return redirect_to_login(request.get_full_path())
    context = {"status": 401, "message": "Log in to CVAT first.", "login": _CVAT_LOGIN}
    return show(request, "error.html", context, status=401)
