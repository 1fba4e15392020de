"""Login keys and personal access tokens."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.prepared import PreparedQuery

MAX_LOGIN_KEYS = 50  # per user; a further login deletes the oldest key
KEY_BYTES = 20  # cvat-sdk refuses login keys of more than 40 characters


class TokenKind(models.TextChoices):
    PERSONAL = "personal"  # ``Authorization: Bearer``
    LOGIN = "login"  # ``Authorization: Token``


class AccessToken(models.Model):
    """A key. Only its digest is stored, so the key is shown only once, when it is created.

    A key is valid until it expires or the password of its user changes.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="access_tokens"
    )
    kind = models.CharField(
        max_length=16, choices=TokenKind.choices, default=TokenKind.PERSONAL, editable=False
    )
    name = models.CharField(max_length=64, blank=True, default="")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    password_digest = models.CharField(max_length=64, default="", editable=False)
    read_only = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name or f"token #{self.pk}"

    @staticmethod
    def digest_of(key: str) -> str:
        """Return the digest that is stored. A key has 160 random bits, so a plain hash suffices."""
        return hashlib.sha256(key.encode()).hexdigest()

    @classmethod
    def create(cls, user: AbstractBaseUser, **fields: Any) -> tuple[AccessToken, str]:
        """Create a key. Return its row and the key itself, which cannot be read later."""
        key = secrets.token_hex(KEY_BYTES)
        digest = cls.digest_of(key)
        password = user.get_session_auth_hash()
        row = cls.objects.create(user=user, digest=digest, password_digest=password, **fields)
        return row, key

    @classmethod
    def create_login_key(cls, user: AbstractBaseUser) -> tuple[AccessToken, str]:
        """Create a login key, and delete the user's expired and oldest keys."""
        own = cls.objects.filter(user=user, kind=TokenKind.LOGIN)
        kept = own.exclude(expires_at__lt=timezone.now()).order_by("-pk")[: MAX_LOGIN_KEYS - 1]
        own.exclude(pk__in=[row.pk for row in kept]).delete()
        ends = timezone.now() + timedelta(days=engine_settings.LOGIN_KEY_DAYS)
        return cls.create(user, kind=TokenKind.LOGIN, expires_at=ends)

    @classmethod
    def find(cls, key: str, kind: str) -> AccessToken | None:
        """Return the row of a key. None: it is unknown or expired, or the password has changed."""
        # The digest is unique. The other conditions would only make the statement more expensive.
        token = _BY_DIGEST.first(cls.digest_of(key))
        if token is None or token.kind != kind or token.is_expired or not token.user.is_active:
            return None
        if not constant_time_compare(token.password_digest, token.user.get_session_auth_hash()):
            return None
        return token

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


_BY_DIGEST: PreparedQuery[AccessToken] = PreparedQuery(
    lambda digest: AccessToken.objects.filter(digest=digest).select_related("user").order_by(), str
)
