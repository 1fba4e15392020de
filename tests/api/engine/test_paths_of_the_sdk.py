"""Every path that CVAT's SDK knows: the server has it, or answers that it does not have it."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import resolve

from cvat_lambda.engine.standalone.api.server import UnknownView
from tests.conftest import ClientFor

Operation = tuple[str, str]  # method and path


@pytest.fixture(scope="module")
def operations() -> list[Operation]:
    """Every operation of the SDK, with numbers in the path."""
    sdk = pytest.importorskip("cvat_sdk.api_client", reason="CVAT's SDK 2.80 needs Python 3.11")
    apis = importlib.import_module("cvat_sdk.api_client.apis")
    found = set()
    with sdk.ApiClient(sdk.Configuration(host="http://127.0.0.1")) as client:
        for name in dir(apis):
            api: Any = getattr(apis, name)(client) if name.endswith("Api") else None
            for member in dir(api):
                if member.endswith("_endpoint"):
                    settings = getattr(api, member).settings
                    found.add((settings["http_method"], settings["endpoint_path"]))
    return [(method, re.sub(r"\{\w+\}", "1", path)) for method, path in sorted(found)]


def is_served(method: str, path: str) -> bool:
    """Return whether a view of the server has a handler for the method."""
    view: Any = resolve(path).func
    if getattr(view, "cls", None) is UnknownView:
        return False
    actions = getattr(view, "actions", None)
    handlers = set(actions or ()) if actions is not None else set(dir(view.cls))
    return method.lower() in handlers


def test_sdk_has_the_expected_number_of_operations(operations: list[Operation]) -> None:
    """The other tests would pass if the list could not be read any more."""
    assert len(operations) == 166
    served = {path.split("/")[2] for method, path in operations if is_served(method, path)}
    assert served == {
        *("auth", "jobs", "labels", "lambda", "projects", "requests", "schema", "server"),
        *("tasks", "users"),
    }


def test_operations_of_the_sdk_that_the_server_lacks_say_so(
    client_for: ClientFor, alice: User, operations: list[Operation]
) -> None:
    client = client_for(alice)
    wrong = []
    for method, path in operations:
        if is_served(method, path):
            continue
        answer = client.generic(method, path, "{}", content_type="application/json")
        says_so = re.match(rb'{"detail": ?"The standalone server does not have ', answer.content)
        if answer.status_code not in (404, 405) or not says_so:
            wrong.append(f"{method} {path}: {answer.status_code} {answer.content[:200]!r}")
    assert not wrong, "\n".join(wrong)
