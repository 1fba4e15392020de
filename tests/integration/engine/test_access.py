"""Permissions to view and edit tasks, checked with the engine."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from cvat_lambda.engine.standalone import access, models
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from cvat_lambda.errors import PermissionDenied


def test_task_without_owner_is_not_visible_to_anonymous_users(db: None) -> None:
    """If the owner was deleted, owner and assignee are null. So is the id of an anonymous user."""
    task = create_task(None, "left behind", ["car"])
    nobody = AnonymousUser()
    assert not access.visible_tasks(nobody).exists()
    assert not access.editable_tasks(nobody).exists()
    assert not access.visible_jobs(nobody).exists()
    assert StandaloneAccess(nobody).editable_task_ids([task.pk]) == set()
    with pytest.raises(PermissionDenied):
        StandaloneAccess(nobody).require_task(task.pk, "view")


@pytest.mark.parametrize("role", ["owner", "assignee", "project__owner", "project__assignee"])
def test_owners_and_assignees_of_task_and_project_may_edit(db: None, role: str) -> None:
    person, stranger = User.objects.create_user("person"), User.objects.create_user("stranger")
    project = create_project(None, "project", ["car"])
    task = create_task(None, "task", project=project)
    model, name = (project, role[9:]) if role.startswith("project__") else (task, role)
    type(model).objects.filter(pk=model.pk).update(**{name: person})
    StandaloneAccess(person).require_task(task.pk, "edit")
    assert list(access.editable_tasks(person)) == list(models.Task.objects.all())
    assert StandaloneAccess(person).editable_task_ids([task.pk]) == {task.pk}
    assert StandaloneAccess(stranger).editable_task_ids([task.pk]) == set()
