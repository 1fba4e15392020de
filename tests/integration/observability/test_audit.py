"""The audit log of deletions, undos, changed permissions and deployments."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import RequestFactory

from cvat_lambda import signals
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.observability.context import request_context
from tests.conftest import ClientFor

pytestmark = pytest.mark.django_db

Entries = Callable[[], list[tuple[Any, ...]]]


@pytest.fixture
def entries(caplog: pytest.LogCaptureFixture) -> Entries:
    """Return user, action, kind and id of each entry."""
    caplog.set_level(logging.INFO, logger="cvat_lambda.audit")

    def read() -> list[tuple[Any, ...]]:
        return [
            (vars(record)["user"], vars(record)["action"], vars(record)["object_kind"],
             vars(record)["object_id"])
            for record in caplog.records
            if record.name == "cvat_lambda.audit"
        ]  # fmt: skip

    return read


def details(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    found: dict[str, Any] = vars(caplog.records[-1])["details"]
    return found


def test_deleted_task_is_audited_with_the_user_of_the_request(
    alice: User, entries: Entries, tmp_path: Path, client_for: ClientFor
) -> None:
    from tests.integration.requests.conftest import make_images

    task = create_task(
        alice, "street", [{"name": "car", "type": "rectangle"}], make_images(tmp_path / "i", 1)
    )
    number = task.pk
    assert client_for(alice).delete(f"/api/tasks/{number}").status_code == 204
    assert ("alice", "deleted", "task", str(number)) in entries()


def test_action_of_a_command_is_audited_with_the_system_user(entries: Entries) -> None:
    signals.action_taken.send(
        sender=object, action="deployed", object_kind="function", object_id="fn", details={}
    )
    ((user, *rest),) = entries()
    assert user.startswith("command of ")
    assert rest == ["deployed", "function", "fn"]


def test_changed_flags_of_a_user_are_audited_and_passwords_are_not_shown(
    alice: User, bob: User, entries: Entries, caplog: pytest.LogCaptureFixture
) -> None:
    request = RequestFactory().post("/admin/")
    request.user = alice
    with request_context("r", request):
        bob.is_staff = True
        bob.set_password("another-secret")
        bob.save()
    assert entries() == [("alice", "changed rights of", "user", str(bob.pk))]
    assert details(caplog) == {"is_staff": True, "password": "changed"}


def test_login_is_not_audited_as_a_change_of_rights(bob: User, entries: Entries) -> None:
    bob.first_name = "Bob"
    bob.save()
    bob.save(update_fields=["last_login"])
    assert entries() == []


def test_changed_groups_of_a_user_are_audited(
    bob: User, entries: Entries, caplog: pytest.LogCaptureFixture
) -> None:
    group = Group.objects.create(name="admins")
    bob.groups.add(group)
    assert [entry[1:] for entry in entries()] == [("changed rights of", "user", str(bob.pk))]
    assert details(caplog) == {"relation": "user_groups", "change": "add", "ids": [group.pk]}


def test_action_in_the_admin_site_is_audited(alice: User, bob: User, entries: Entries) -> None:
    LogEntry.objects.create(
        user=alice,
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(bob.pk),
        object_repr="bob",
        action_flag=CHANGE,
    )
    assert [entry[1:] for entry in entries()] == [("changed in the admin", "user", str(bob.pk))]
