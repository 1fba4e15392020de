"""How the tables are emptied after a test that commits."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

pytestmark = pytest.mark.django_db(transaction=True)

Kept = tuple[set[tuple[int, str]], set[tuple[int, str]]]


def kept() -> Kept:
    """Return the ids and names of content types and permissions."""
    kinds = ContentType.objects.values_list("pk", "model")
    return set(kinds), set(Permission.objects.values_list("pk", "codename"))


def flush() -> None:
    call_command("flush", interactive=False, verbosity=0)


def test_flush_deletes_rows_and_their_relations_and_keeps_permissions() -> None:
    flush()
    before = kept()
    group = Group.objects.create(name="annotators")
    group.permissions.add(Permission.objects.all()[0])
    User.objects.create_user("alice").groups.add(group)
    flush()
    assert kept() == before
    assert not User.objects.exists()
    assert not Group.objects.exists()
    assert not Group.permissions.through.objects.exists()
    assert not User.groups.through.objects.exists()


def test_flush_restores_content_types_and_permissions_that_a_test_changed() -> None:
    flush()
    before = {name for _, name in kept()[0]}
    ContentType.objects.create(app_label="auth", model="stranger")
    Permission.objects.filter(codename="add_user").delete()
    flush()
    assert {name for _, name in kept()[0]} == before
    assert Permission.objects.filter(codename="add_user").exists()
