"""Migrations run in both directions and match the models."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from cvat_lambda.models import Request


@pytest.mark.django_db
def test_models_match_their_migrations() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_user_with_requests_can_be_deleted_after_the_app_is_uninstalled() -> None:
    """Without the app only the database can delete the user's requests."""
    if connection.vendor != "postgresql":
        pytest.skip("only inside CVAT is there a way back, and that has PostgreSQL")
    user = User.objects.create(username="person")
    request = Request.objects.create(owner=user, function_id="f", function_kind="detector")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM auth_user WHERE id = %s", [user.pk])
    connection.check_constraints()
    request.refresh_from_db()
    assert request.owner_id is None


@pytest.mark.parametrize("app", ["cvat_lambda", "engine"])
def test_migrations_run_backwards_and_forwards(transactional_db: None, app: str) -> None:
    ours = {model._meta.db_table for model in apps.get_app_config(app).get_models()}
    try:
        call_command("migrate", app, "zero", verbosity=0)
        assert not ours & set(connection.introspection.table_names())
    finally:
        call_command("migrate", app, verbosity=0)
    assert ours <= set(connection.introspection.table_names())
