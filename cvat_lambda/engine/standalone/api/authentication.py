"""Authentication: login tokens, personal access tokens, browser sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from cvat_lambda.engine.standalone.models import AccessToken

# Interval of updates of a token's last use; an update for each request would be too slow.
_LAST_USE_PRECISION = timedelta(minutes=5)


class TokenAuthentication(authentication.TokenAuthentication):
    """``Authorization: Token KEY``, with the key that a login returned."""


class SessionAuthentication(authentication.SessionAuthentication):
    """The session cookie of a browser; unsafe methods need the CSRF token as well."""


class BearerAuthentication(authentication.TokenAuthentication):
    """``Authorization: Bearer KEY``, a personal access token."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Raise PermissionDenied for an unsafe method with a read-only token."""
        found = super().authenticate(request)
        if found is not None and found[1].read_only and request.method not in SAFE_METHODS:
            raise PermissionDenied("this access token may only read")
        return found

    def authenticate_credentials(self, key: str) -> tuple[Any, Any]:
        """Return the user of a token, and the token. Raise AuthenticationFailed."""
        now = timezone.now()
        token = (
            AccessToken.objects.select_related("user")
            .filter(digest=AccessToken.digest_of(key))
            .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now))
            .first()
        )
        if token is None or not token.user.is_active:
            raise AuthenticationFailed("the access token is not valid, or no longer")
        if token.last_used_at is None or now - token.last_used_at > _LAST_USE_PRECISION:
            AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token


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
