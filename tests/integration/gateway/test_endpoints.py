"""HTTP endpoints: add, invoke, check, probe and remove, in code and in the admin."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from cvat_lambda.errors import (
    FunctionAnswerInvalid,
    FunctionNotFound,
    FunctionSpecInvalid,
    FunctionUnavailable,
    InvalidRequest,
    StateConflict,
)
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.endpoints import Endpoint, remove_endpoint, save_endpoint
from cvat_lambda.gateway.invoke import invoke, time_limit_s
from cvat_lambda.gateway.probe import probe
from tests.http_server import Reply

from .fake_nuclio import FakeNuclio, function_object

pytestmark = pytest.mark.django_db
LABELS = '[{"name": "car", "type": "rectangle"}]'


@pytest.fixture(autouse=True)
def _allowed(settings: Settings, nuclio: FakeNuclio) -> None:
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1",)


def endpoint(nuclio: FakeNuclio, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "function_id": "mine",
        "url": f"{nuclio.url}/predict?model=a",
        "kind": "detector",
        "labels": LABELS,
        "token": "secret",
    }
    return Endpoint(**{**values, **changes})


def test_endpoint_is_listed_and_invoked_as_a_function(nuclio: FakeNuclio) -> None:
    save_endpoint(endpoint(nuclio, name="Mine", timeout_s=7.0, workers=3))
    nuclio.default = [{"label": "car"}]
    (spec,) = registry.listed()
    assert (spec.id, spec.name, spec.workers) == ("mine", "Mine", 3)
    assert time_limit_s(spec) == 7.0 + 10.0 + 5.0
    assert invoke(spec, b'{"image":"x"}', request_id="r1") == [{"label": "car"}]
    (seen,) = nuclio.invocations()
    assert (seen.path, seen.body) == ("/predict?model=a", b'{"image":"x"}')
    assert seen.headers["authorization"] == "Bearer secret"
    assert seen.headers["x-request-id"] == "r1"


def test_changed_url_changes_the_revision(nuclio: FakeNuclio) -> None:
    save_endpoint(endpoint(nuclio))
    before = registry.get("mine")
    save_endpoint(endpoint(nuclio, url=f"{nuclio.url}/v2", token=""))
    after = registry.get("mine")
    assert before.revision != after.revision
    assert (after.address.endpoint_url, after.address.token) == (f"{nuclio.url}/v2", "")


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"url": "http://169.254.169.254/latest"}, InvalidRequest, "is not allowed for endpoints"),
        ({"url": "http://10.9.9.9/"}, InvalidRequest, "'10.9.9.9' is not allowed"),
        ({"url": "http://nobody.invalid/"}, InvalidRequest, "is not known"),
        ({"url": "http://" + "a.b/" * 700}, InvalidRequest, "longer than 2048"),
        ({"kind": "oracle"}, FunctionSpecInvalid, "type 'oracle' is not known"),
        ({"labels": "[{]"}, FunctionSpecInvalid, "not valid JSON"),
        ({"function_id": "a b"}, InvalidRequest, "the id of a function"),
        ({"timeout_s": 0.0}, InvalidRequest, "the time limit"),
        ({"timeout_s": float("nan")}, InvalidRequest, "the time limit"),
        ({"token": "a\r\nHost: b"}, InvalidRequest, "the token"),
        ({"annotations": {"max_batch": "many"}}, FunctionSpecInvalid, "max_batch"),
    ],
)
def test_invalid_endpoint_is_refused_when_it_is_saved(
    nuclio: FakeNuclio, changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        save_endpoint(endpoint(nuclio, **changes))
    assert not Function.objects.exists()


def test_endpoint_is_not_called_after_its_host_left_the_allow_list(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    save_endpoint(endpoint(nuclio))
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ()
    with pytest.raises(FunctionUnavailable, match="is not allowed for endpoints") as caught:
        invoke(registry.get("mine"), b"{}", request_id="r1")
    assert caught.value.permanent
    assert nuclio.invocations() == []


def test_redirect_is_not_followed(nuclio: FakeNuclio) -> None:
    save_endpoint(endpoint(nuclio))
    nuclio.script = [Reply(302, headers={"Location": f"{nuclio.url}/secret"})]
    with pytest.raises(FunctionAnswerInvalid, match="answered with a redirect"):
        invoke(registry.get("mine"), b"{}", request_id="r1")
    assert len(nuclio.seen) == 1


def test_endpoint_with_the_id_of_a_platforms_function_is_refused(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"mine": function_object("mine")}
    registry.refresh()
    with pytest.raises(StateConflict, match="choose another"):
        save_endpoint(endpoint(nuclio))
    with pytest.raises(FunctionNotFound):
        remove_endpoint("mine")


def test_removed_endpoint_is_not_found(nuclio: FakeNuclio) -> None:
    save_endpoint(endpoint(nuclio))
    remove_endpoint("mine")
    with pytest.raises(FunctionNotFound):
        registry.get("mine")


@pytest.mark.parametrize(
    ("kind", "annotations", "answer", "summary"),
    [
        ("detector", {}, [{"label": "car", "type": "rectangle", "points": [1, 2, 30, 40]}],
         "it found 1 shape and 0 tags"),
        ("interactor", {}, {"mask": [[0] * 320] * 240}, "it answered mask and points"),
        ("tracker", {"supported_shape_types": "rectangle"},
         {"shapes": [{"type": "rectangle", "points": [1, 2, 3, 4]}], "states": [{}]},
         "it began a track"),
        ("tracker", {}, {"shapes": [[1, 2, 3, 4]], "states": [{}]}, "it began a track"),
        ("reid", {}, [0], "it matched 1 of 1 box"),
    ],
)  # fmt: skip
def test_probe_checks_the_answer_of_each_kind(
    nuclio: FakeNuclio, kind: str, annotations: dict[str, str], answer: object, summary: str
) -> None:
    labels = LABELS if kind == "detector" else ""
    save_endpoint(endpoint(nuclio, kind=kind, labels=labels, annotations=annotations))
    nuclio.default = answer
    assert probe(registry.get("mine")).summary == summary
    sent = json.loads(nuclio.invocations()[0].body)
    assert ("image0" in sent) is (kind == "reid")
    nuclio.default = {"answer": 42}
    with pytest.raises(FunctionAnswerInvalid, match="function 'mine'"):
        probe(registry.get("mine"))


@pytest.fixture
def admin_client(db: None, settings: Settings) -> Client:
    import cvat_lambda.gateway.admin  # noqa: F401 (it registers itself)

    settings.WHITENOISE_AUTOREFRESH = True  # no collected static files here
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "secret"))
    return client


def form(nuclio: FakeNuclio, **changes: str) -> dict[str, str]:
    values = {
        "id": "mine",
        "kind": "detector",
        "name": "Mine",
        "endpoint_url": f"{nuclio.url}/predict",
        "token": "secret",
        "workers": "2",
        "labels": LABELS,
        "annotations": '{"max_batch": "4"}',
        "enabled": "on",
        "timeout_s": "9",
    }
    return {**values, **changes}


ADD = "/admin/cvat_lambda/function/add/"
CHANGE = "/admin/cvat_lambda/function/mine/change/"


def test_endpoint_is_added_and_changed_in_the_admin(
    nuclio: FakeNuclio, admin_client: Client
) -> None:
    assert admin_client.get(ADD).status_code == 200
    assert admin_client.post(ADD, form(nuclio)).status_code == 302
    spec = registry.get("mine")
    assert (spec.workers, spec.max_batch, spec.timeout_s) == (2, 4, 9.0)
    page = admin_client.get(CHANGE).content.decode()
    assert "secret" not in page
    assert "max_batch" in page
    assert admin_client.post(CHANGE, form(nuclio, token="", workers="5")).status_code == 302
    spec = registry.get("mine")
    assert (spec.workers, spec.address.token) == (5, "secret")
    without = form(nuclio, token="", forget_token="on")
    del without["enabled"]
    assert admin_client.post(CHANGE, without).status_code == 302
    row = Function.objects.get(pk="mine")
    assert (row.token, row.enabled) == ("", False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"endpoint_url": "http://169.254.169.254/"}, "is not allowed for endpoints"),
        ({"labels": "[{]"}, "not valid JSON"),
        ({"annotations": '{"a": 1}'}, "whose values are text"),
        ({"id": "taken"}, "already exists"),
    ],
)
def test_admin_shows_the_error_of_an_invalid_endpoint(
    nuclio: FakeNuclio, admin_client: Client, changes: dict[str, str], sentence: str
) -> None:
    save_endpoint(endpoint(nuclio, function_id="taken"))
    answer = admin_client.post(ADD, form(nuclio, **changes))
    assert answer.status_code == 200
    assert sentence in answer.content.decode()
    assert Function.objects.count() == 1


def test_admin_changes_only_enabled_of_a_platforms_function(
    nuclio: FakeNuclio, admin_client: Client
) -> None:
    nuclio.functions = {"mine": function_object("mine")}
    registry.refresh()
    assert admin_client.get("/admin/cvat_lambda/function/").status_code == 200
    assert admin_client.post(CHANGE, {"name": "changed"}).status_code == 302
    row = Function.objects.get(pk="mine")
    assert (row.name, row.enabled, row.kind) == ("Mine", False, "detector")
    assert admin_client.post("/admin/cvat_lambda/function/mine/delete/").status_code == 403


def test_admin_probes_functions(nuclio: FakeNuclio, admin_client: Client) -> None:
    save_endpoint(endpoint(nuclio))
    nuclio.script = [Reply(200, "[]"), Reply(200, "{}")]
    for sentence in ("mine: it found 0 shapes and 0 tags in", "mine: function 'mine': expected"):
        page = admin_client.post(
            "/admin/cvat_lambda/function/",
            {"action": "check_now", "_selected_action": ["mine"]},
            follow=True,
        )
        (message,) = page.context["messages"]
        assert str(message).startswith(sentence)
