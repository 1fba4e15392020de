"""Serializers of the server and the user of a request."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class LoginForm(serializers.Serializer[Any]):
    """A login, by name or by e-mail address."""

    username = serializers.CharField(required=False, allow_blank=True, default="")
    email = serializers.CharField(required=False, allow_blank=True, default="")
    password = serializers.CharField(trim_whitespace=False)


class LoginKey(serializers.Serializer[Any]):
    """The response to a login."""

    key = serializers.CharField()


class Detail(serializers.Serializer[Any]):
    """A message."""

    detail = serializers.CharField()


class About(serializers.Serializer[Any]):
    """Name and version of the server."""

    name = serializers.CharField()
    description = serializers.CharField()
    version = serializers.CharField()
    logo_url = serializers.CharField()
    subtitle = serializers.CharField()


class Plugins(serializers.Serializer[Any]):
    """The parts of CVAT's pages that this server supports."""

    GIT_INTEGRATION = serializers.BooleanField()
    ANALYTICS = serializers.BooleanField()
    MODELS = serializers.BooleanField()
    PREDICT = serializers.BooleanField()


class Self(serializers.Serializer[Any]):
    """The user of the request."""

    id = serializers.IntegerField()
    username = serializers.CharField(source="get_username")
    first_name = serializers.CharField(default="")  # another user model may lack it
    last_name = serializers.CharField(default="")
    email = serializers.CharField()
    is_staff = serializers.BooleanField()
    is_superuser = serializers.BooleanField()
    is_active = serializers.BooleanField()
    last_login = serializers.DateTimeField(allow_null=True)
    date_joined = serializers.DateTimeField(default=None)
