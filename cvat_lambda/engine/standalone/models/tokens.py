"""Personal access tokens: ``Authorization: Bearer``."""

from __future__ import annotations

import hashlib
import secrets

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.utils import timezone


class AccessToken(models.Model):
    """A personal access token. Only its hash is stored: the token is shown once."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="access_tokens"
    )
    name = models.CharField(max_length=64, blank=True, default="")
    digest = models.CharField(max_length=64, unique=True, editable=False)
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
        """Return the hash of a token; a plain one is enough for 256 random bits."""
        return hashlib.sha256(key.encode()).hexdigest()

    @classmethod
    def create(cls, user: AbstractBaseUser, **fields: object) -> tuple[AccessToken, str]:
        """Create a token; return its row and the secret, which is not stored."""
        key = secrets.token_hex(32)
        row = cls.objects.create(user=user, digest=cls.digest_of(key), **fields)
        return row, key
