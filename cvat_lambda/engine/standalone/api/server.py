"""``/api/server``, ``/api/auth`` and ``/api/users/self``."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth import login as begin_session
from django.contrib.auth import logout as end_session
from django.middleware.csrf import get_token
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from cvat_lambda.engine.standalone.api import schema
from cvat_lambda.engine.standalone.api.base import EngineView
from cvat_lambda.engine.standalone.api.exchange import FormatsRead, formats
from cvat_lambda.engine.standalone.api.serializers.server import (
    About,
    Detail,
    LoginForm,
    LoginKey,
    Plugins,
    Self,
)
from cvat_lambda.engine.standalone.models import AccessToken

# The newest release of cvat-sdk and cvat-cli that was tested. Clients warn about a server of
# another release than their own or the next.
COMPATIBLE_VERSION = "2.80.0"
LOGIN_KEY = "login_key"  # in the session: the id of the login key's row


class _OpenView(EngineView):
    """A view that needs no login."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


# The first part of the paths that CVAT's SDK 2.80 knows and this server does not have.
ABSENT: Final = {
    "organizations": "organizations",
    "invitations": "invitations to organizations",
    "memberships": "memberships of organizations",
    "issues": "issues",
    "comments": "comments on issues",
    "cloudstorages": "cloud storages",
    "webhooks": "webhooks of CVAT; CVAT_LAMBDA_WEBHOOK_URL names one for requests",
    "guides": "annotation guides",
    "assets": "assets of guides",
    "quality": "quality reports",
    "consensus": "consensus merging",
    "analytics": "analytics",
    "growth": "suggestions of plans",
    "events": "a log of events; see the audit log",
    "users": "a list of users; GET /api/users/self answers your own account",
    "access_tokens": "a REST API of access tokens; use manage.py access_token",
    "auth": "registration and single sign-on; an administrator creates accounts",
    "server": "this part of the server's API",
    "jobs": "this action on jobs",
    "labels": "this action on labels",
    "projects": "this action on projects",
    "tasks": "this action on tasks",
    "requests": "this action on requests",
}


def sentence_for(path: str) -> str:
    """Return what to say about an unknown path of the API."""
    first = path.removeprefix("/api/").split("/")[0]
    if first in ABSENT:
        return f"The standalone server does not have {ABSENT[first]}."
    return "Not found."


class UnknownView(_OpenView):
    """Answers unknown paths of the API with 404 as JSON."""

    schema = None  # not in the OpenAPI document

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(sentence_for(request.path))


class AboutView(_OpenView):
    @extend_schema(tags=["server"], responses={200: About})
    def get(self, request: Request) -> Response:
        """Return name and version of this server."""
        about = {
            "name": "cvat_lambda",
            "description": "Model functions for annotators, with an embedded engine.",
            "version": COMPATIBLE_VERSION,
            "logo_url": "",
            "subtitle": "",
        }
        return Response(about)


class PluginsView(_OpenView):
    @extend_schema(tags=["server"], responses={200: Plugins})
    def get(self, request: Request) -> Response:
        """Return the parts of CVAT's pages that this server supports: models."""
        plugins = {
            "GIT_INTEGRATION": False,
            "ANALYTICS": False,
            "MODELS": True,
            "PREDICT": False,
        }
        return Response(plugins)


class FormatsView(EngineView):
    @extend_schema(tags=["server"], responses={200: FormatsRead, **schema.ANONYMOUS})
    def get(self, request: Request) -> Response:
        """Return the formats of annotations that can be imported and exported."""
        return Response(formats())


class LoginView(_OpenView):
    @extend_schema(tags=["auth"], request=LoginForm, responses={200: LoginKey, **schema.INVALID})
    def post(self, request: Request) -> Response:
        """Begin a session, and return a key for ``Authorization: Token``."""
        form = LoginForm(data=request.data)
        form.is_valid(raise_exception=True)
        user = _find_user(request, form.validated_data)
        if user is None:
            message = "Unable to log in with provided credentials."
            raise ValidationError({"non_field_errors": [message]})
        begin_session(request._request, user)
        get_token(request._request)  # the answer carries the CSRF cookie
        row, key = AccessToken.create_login_key(user)
        request._request.session[LOGIN_KEY] = row.pk
        return Response({"key": key})


def _find_user(request: Request, form: dict[str, str]) -> Any:
    name = form["username"]
    if not name and form["email"]:
        users = get_user_model()._default_manager.filter(email__iexact=form["email"])[:2]
        name = users[0].get_username() if len(users) == 1 else ""
    return authenticate(request._request, username=name, password=form["password"])


class LogoutView(EngineView):
    @extend_schema(tags=["auth"], request=None, responses={200: Detail, **schema.ANONYMOUS})
    def post(self, request: Request) -> Response:
        """End the session and the key that its login returned, or the key of this request."""
        row_id = getattr(request.auth, "pk", None) or request._request.session.get(LOGIN_KEY, 0)
        AccessToken.objects.filter(pk=row_id, user_id=request.user.pk or 0).delete()
        end_session(request._request)
        return Response({"detail": "Successfully logged out."}, status=status.HTTP_200_OK)


class SelfView(EngineView):
    @extend_schema(tags=["users"], responses={200: Self, **schema.ANONYMOUS})
    def get(self, request: Request) -> Response:
        """Return the user of the request."""
        return Response(Self(request.user).data)
