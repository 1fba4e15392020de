"""Projects of the runtime, which exist as long as it runs."""

from __future__ import annotations

import pytest

from cvat_lambda.runtime.deploy.projects import Projects
from cvat_lambda.runtime.errors import BadRequest, NotFound, PreconditionFailed


def document(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {}}


def test_project_with_functions_is_not_deleted() -> None:
    in_use = ["street"]
    projects = Projects((), lambda: in_use)
    with pytest.raises(PreconditionFailed, match="Project street has functions"):
        projects.delete(document("street"))
    in_use.clear()
    projects.delete(document("street"))
    with pytest.raises(NotFound):
        projects.get("street")


def test_default_project_is_not_deleted() -> None:
    projects = Projects((), list)
    with pytest.raises(PreconditionFailed, match="Cannot delete the default project"):
        projects.delete(document("default"))
    assert set(projects.all()) == {"default"}


def test_project_is_created_under_the_name_in_its_path_only() -> None:
    projects = Projects((), list)
    projects.update(document("street"), "street")
    with pytest.raises(BadRequest, match="different from request id"):
        projects.update(document("street"), "park")
    assert set(projects.all()) == {"default", "street"}
