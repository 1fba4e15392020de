"""Logins, and the keys that they return: expiry, logout, revocation and the limit of failures."""

from __future__ import annotations

import base64
from datetime import timedelta
from importlib import import_module
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.engine.standalone.models import AccessToken, TokenKind

pytestmark = pytest.mark.usefixtures("clean_redis")


def login(password: str = "alice-secret", name: str = "alice", **more: str) -> Any:
    body = {"username": name, "password": password}
    return Client().post("/api/auth/login", body, "application/json", **more)  # type: ignore[arg-type]


def status_with(key: str, keyword: str = "Token") -> int:
    client = Client(headers={"Authorization": f"{keyword} {key}"})
    return client.get("/api/users/self").status_code


def test_a_login_key_is_stored_as_a_digest(alice: User) -> None:
    key = login().json()["key"]
    assert len(key) <= 40  # what cvat-sdk accepts
    assert status_with(key) == 200
    row = AccessToken.objects.get(user=alice, kind=TokenKind.LOGIN)
    assert key not in (row.digest, row.password_digest)
    assert status_with(row.digest) == 401


def test_login_key_is_not_accepted_as_personal_token(alice: User) -> None:
    _, personal = AccessToken.create(alice)
    assert status_with(login().json()["key"], "Bearer") == 401
    assert status_with(personal) == 401
    assert status_with(personal, "Bearer") == 200


def test_login_key_expires_after_the_days_of_the_setting(settings: Settings, alice: User) -> None:
    settings.CVAT_LAMBDA_STANDALONE_LOGIN_KEY_DAYS = 3
    key = login().json()["key"]
    row = AccessToken.objects.get(user=alice)
    assert row.expires_at is not None
    assert row.expires_at - timezone.now() <= timedelta(days=3)
    AccessToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert status_with(key) == 401


def test_password_change_ends_login_keys_and_personal_tokens(alice: User) -> None:
    key = login().json()["key"]
    _, personal = AccessToken.create(alice)
    alice.set_password("another-secret")
    alice.save()
    assert (status_with(key), status_with(personal, "Bearer")) == (401, 401)


def test_logout_ends_the_key_of_its_own_login_only(alice: User) -> None:
    first, second = (login().json()["key"] for _ in range(2))
    Client(headers={"Authorization": f"Token {first}"}).post("/api/auth/logout")
    assert (status_with(first), status_with(second)) == (401, 200)


def test_logout_of_a_session_ends_the_key_that_its_login_returned(alice: User) -> None:
    client = Client()
    body = {"username": "alice", "password": "alice-secret"}
    key = client.post("/api/auth/login", body, "application/json").json()["key"]
    assert client.post("/api/auth/logout").status_code == 200
    assert status_with(key) == 401


def test_revoke_access_ends_keys_and_sessions_of_one_user(alice: User, bob: User) -> None:
    client, other = Client(), Client()
    client.force_login(alice)
    other.force_login(bob)
    key = login().json()["key"]
    printed = StringIO()
    call_command("revoke_access", "alice", stdout=printed)
    assert "Ended 1 tokens and 2 sessions of 'alice'." in printed.getvalue()
    assert status_with(key) == 401
    assert client.get("/api/users/self").status_code == 401
    assert other.get("/api/users/self").status_code == 200


def test_failed_logins_are_limited_by_name_and_address(settings: Settings, alice: User) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_FAILED_LOGINS = 2
    assert [login("wrong").status_code for _ in range(2)] == [400, 400]
    refused = login()
    assert (refused.status_code, refused["Retry-After"]) == (429, "900")
    assert login(REMOTE_ADDR="192.0.2.7").status_code == 200


def test_failed_logins_of_any_names_are_limited_by_address(settings: Settings, alice: User) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_FAILED_LOGINS_PER_ADDRESS = 2
    assert [login("wrong", name=f"user{n}").status_code for n in range(2)] == [400, 400]
    assert login().status_code == 429


def test_the_login_page_and_basic_authentication_share_the_limit(
    settings: Settings, alice: User
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_FAILED_LOGINS = 1
    wrong = {"username": "alice", "password": "wrong"}
    assert Client().post("/login", wrong).status_code == 200
    assert Client().post("/login", wrong).status_code == 429
    credentials = base64.b64encode(b"alice:alice-secret").decode()
    basic = Client(headers={"Authorization": f"Basic {credentials}"})
    assert basic.get("/api/users/self").status_code == 429


def test_login_succeeds_while_redis_is_down(settings: Settings, alice: User) -> None:
    settings.CVAT_LAMBDA_REDIS_URL = "redis://127.0.0.1:1/0"
    assert login().status_code == 200


@pytest.mark.django_db
def test_basic_credentials_with_a_null_character_answer_401() -> None:
    credentials = base64.b64encode(b"al\0ice:x").decode()
    client = Client(headers={"Authorization": f"Basic {credentials}"})
    assert client.get("/api/users/self").status_code == 401


def test_migrated_login_keys_of_the_former_table_stay_valid(alice: User) -> None:
    migration = import_module("cvat_lambda.engine.standalone.migrations.0002_login_keys_as_digests")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE authtoken_token (key varchar(40), user_id integer)")
        cursor.execute("INSERT INTO authtoken_token VALUES (%s, %s)", ["a" * 40, alice.pk])
        try:
            editor = SimpleNamespace(connection=connection)
            migration.move_login_keys(apps, editor)
            cursor.execute("SELECT count(*) FROM authtoken_token")
            assert cursor.fetchone() == (0,)
        finally:
            cursor.execute("DROP TABLE authtoken_token")
    assert status_with("a" * 40) == 200
