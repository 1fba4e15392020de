"""The app's tables can be made, taken back and made again, and agree with its models."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection


@pytest.mark.django_db
def test_no_change_of_a_model_is_without_its_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_the_tables_go_and_come_back(transactional_db: None) -> None:
    ours = {model._meta.db_table for model in apps.get_app_config("cvat_lambda").get_models()}
    try:
        call_command("migrate", "cvat_lambda", "zero", verbosity=0)
        assert not ours & set(connection.introspection.table_names())
    finally:
        call_command("migrate", "cvat_lambda", verbosity=0)
    assert ours <= set(connection.introspection.table_names())
