"""Authentication by login key, personal access token, session or password."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from cvat_lambda.engine.standalone.models import AccessToken, TokenKind

# The time of a token's last use is written at most this often.
_LAST_USE_PRECISION = timedelta(minutes=5)


class SessionAuthentication(authentication.SessionAuthentication):
    """The session cookie of a browser. Changes need the CSRF token, too."""


class BasicAuthentication(authentication.BasicAuthentication):
    """Name and password in each request."""

    def authenticate_credentials(
        self, userid: str, password: str, request: Request | None = None
    ) -> tuple[Any, None]:
        """Raise AuthenticationFailed on wrong credentials."""
        if "\x00" in userid:  # PostgreSQL refuses it in a query
            raise AuthenticationFailed("Invalid username/password.")
        return super().authenticate_credentials(userid, password, request)


class TokenAuthentication(authentication.TokenAuthentication):
    """``Authorization: Token KEY`` with the key that a login returned."""

    kind = TokenKind.LOGIN

    def authenticate_credentials(self, key: str) -> tuple[Any, Any]:
        """Return the user of a key and its row. Raise AuthenticationFailed."""
        token = AccessToken.find(key, self.kind)
        if token is None:
            raise AuthenticationFailed(f"The {self.kind} token is not valid, or has ended.")
        now = timezone.now()
        if token.last_used_at is None or now - token.last_used_at > _LAST_USE_PRECISION:
            AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token


class BearerAuthentication(TokenAuthentication):
    """``Authorization: Bearer KEY`` with a personal access token."""

    keyword = "Bearer"
    kind = TokenKind.PERSONAL

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Raise PermissionDenied if a read-only token would change something."""
        found = super().authenticate(request)
        if found is not None and found[1].read_only and request.method not in SAFE_METHODS:
            raise PermissionDenied("this access token may only read")
        return found


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "tokenAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "Token KEY, with the key that a login answers",
        }


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerAuthentication
    name = "accessTokenAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "a personal access token"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = SessionAuthentication
    name = "sessionAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class BasicScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BasicAuthentication
    name = "basicAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "basic"}
