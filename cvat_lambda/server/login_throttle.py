"""An authentication backend that refuses logins after too many failed ones.

Every login passes through it: the page, the admin, the API and HTTP Basic. The counts are in
Redis, for all processes. If Redis does not answer, logins are not limited.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import redis
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.errors import TooManyLogins
from cvat_lambda.redis_client import connect

if TYPE_CHECKING:
    from django.contrib.auth.models import User  # of the stubs; any user model is returned

logger = logging.getLogger(__name__)

WINDOW_S = 15 * 60
PREFIX = "cvat_lambda:failed_logins:"


class ThrottledModelBackend(ModelBackend):
    """Django's model backend with limits on failed logins by name and by address."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the user of the credentials. Raise TooManyLogins."""
        name = username if username is not None else kwargs.get(get_user_model().USERNAME_FIELD, "")
        address = "" if request is None else str(request.META.get("REMOTE_ADDR", ""))
        limits = _limits(str(name), address)
        try:
            client = connect()
            with client:
                counts = client.mget(list(limits))
                for count, limit in zip(counts, limits.values(), strict=True):
                    if int(count or 0) >= limit:
                        raise TooManyLogins
                user = super().authenticate(request, username, password, **kwargs)
                if user is None:
                    _count_failure(client, limits)
                return user
        except redis.RedisError:
            logger.warning("Redis does not answer: logins are not limited")
            return super().authenticate(request, username, password, **kwargs)


def _limits(name: str, address: str) -> dict[str, int]:
    """Return the limits by key of their counter."""
    return {
        _key("both", name, address): engine_settings.MAX_FAILED_LOGINS,
        _key("address", address): engine_settings.MAX_FAILED_LOGINS_PER_ADDRESS,
        _key("name", name): engine_settings.MAX_FAILED_LOGINS_PER_NAME,
    }


def _key(kind: str, *parts: str) -> str:
    content = "\0".join(parts).encode("utf-8", "replace")
    return f"{PREFIX}{kind}:{hashlib.blake2b(content, digest_size=16).hexdigest()}"


def _count_failure(client: redis.Redis, keys: dict[str, int]) -> None:
    with client.pipeline() as pipeline:
        for key in keys:
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_S)
        pipeline.execute()
