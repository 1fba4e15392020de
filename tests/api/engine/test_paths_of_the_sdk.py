"""Every path that CVAT's SDK knows: the server has it, or answers that it does not have it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import resolve

from cvat_lambda.engine.standalone.api.server import UnknownView
from tests.conftest import ClientFor

pytest.importorskip("cvat_sdk", reason="CVAT's SDK 2.80 needs Python 3.11")

from cvat_sdk.api_client import ApiClient, Configuration, apis


def known_to_the_sdk() -> list[tuple[str, str]]:
    """Return method and path of every operation of the SDK."""
    found = set()
    with ApiClient(Configuration(host="http://127.0.0.1")) as client:
        for name in dir(apis):
            api: Any = getattr(apis, name)(client) if name.endswith("Api") else None
            for member in dir(api):
                if member.endswith("_endpoint"):
                    settings = getattr(api, member).settings
                    found.add((settings["http_method"], settings["endpoint_path"]))
    return sorted(found)


def is_served(method: str, path: str) -> bool:
    """Return whether a view of the server has a handler for the method."""
    view: Any = resolve(path).func
    if getattr(view, "cls", None) is UnknownView:
        return False
    actions = getattr(view, "actions", None)
    handlers = set(actions or ()) if actions is not None else set(dir(view.cls))
    return method.lower() in handlers


OPERATIONS = known_to_the_sdk()
FILLED = [(method, re.sub(r"\{\w+\}", "1", path)) for method, path in OPERATIONS]
ABSENT = [operation for operation in FILLED if not is_served(*operation)]


def test_sdk_has_the_expected_number_of_operations() -> None:
    """The other tests would pass if the list could not be read any more."""
    assert len(OPERATIONS) == 166
    served = {path.split("/")[2] for method, path in FILLED if (method, path) not in ABSENT}
    assert served == {
        *("auth", "jobs", "labels", "lambda", "projects", "requests", "schema", "server"),
        *("tasks", "users"),
    }


@pytest.mark.parametrize(("method", "path"), ABSENT)
def test_operation_of_the_sdk_that_the_server_lacks_says_so(
    client_for: ClientFor, alice: User, method: str, path: str
) -> None:
    answer = client_for(alice).generic(method, path, "{}", content_type="application/json")
    assert answer.status_code in (404, 405), answer.content
    assert answer.json()["detail"].startswith("The standalone server does not have ")
