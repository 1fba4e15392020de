"""The console inside CVAT, with CVAT's session and CVAT's rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cvat.apps.engine import models
from cvat.apps.organizations.models import Organization
from django.contrib.auth.models import Group
from django.test import Client

from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import FrameStatus, Outcome, Request, Shard
from tests.http_server import Reply
from tests.inside_cvat.scenarios import CvatScenarios
from tests.inside_cvat.test_requests import function, image_number
from tests.integration.requests.function_server import FunctionServer

__all__ = ["function"]  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)

CONSOLE = "/api/lambda/console"
JSON = "application/json"


@pytest.fixture
def session(people: dict[str, Any]) -> Callable[[str], Client]:
    """Return a function that logs a user in as CVAT's pages do."""

    def open_(name: str) -> Client:
        client = Client(enforce_csrf_checks=True)
        body = {"username": name, "password": f"{name}-secret"}
        answer = client.post("/api/auth/login", body, content_type=JSON)
        assert answer.status_code == 200, answer.content
        return client

    return open_


@pytest.fixture
def failed(cvat: CvatScenarios, function: FunctionServer) -> Request:
    """A request of alice, of whose three frames the last one failed; the function works again."""
    works = function.behave
    broken = Reply(status=500, body=b'"the lens is dirty"')
    function.behave = lambda payload: broken if image_number(payload) == 2 else works(payload)
    body = {"function": "cars", "task": cvat.task(frames=3)}
    made = cvat.send("post", "/api/lambda/requests", body)
    row = Request.objects.get(pk=made["id"])
    assert (row.status, row.done, row.failed) == ("finished", 2, 1)
    function.behave = works
    return row


def test_console_shows_requests_of_the_session_and_links_to_frames_in_cvat(
    session: Callable[[str], Client], failed: Request
) -> None:
    alice = session("alice")
    listed = alice.get(f"{CONSOLE}/requests").content.decode()
    assert f'href="{CONSOLE}/requests/{failed.pk}"' in listed
    page = alice.get(f"{CONSOLE}/requests/{failed.pk}")
    assert page["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert page["X-Frame-Options"] == "DENY"
    text = page.content.decode()
    assert "the lens is dirty" in text
    (link,) = set(re.findall(rf'href="({CONSOLE}/open/\d+/2)"', text))
    target = alice.get(link)
    assert target.status_code == 302
    assert re.fullmatch(rf"/tasks/{failed.task_id}/jobs/\d+\?frame=2", target["Location"])
    picture = f"{CONSOLE}/thumbnails/{failed.task_id}/2"
    first = alice.get(picture)
    assert first.status_code == 200
    weak = f"W/{first['ETag'].removeprefix('W/')}"  # as CVAT's compression of answers makes it
    again = alice.get(picture, headers={"If-None-Match": weak})
    assert again.status_code == 304


def test_console_serves_its_own_files_and_the_start_form(
    session: Callable[[str], Client], failed: Request
) -> None:
    alice = session("alice")
    page = alice.get(f"{CONSOLE}/start?task={failed.task_id}").content.decode()
    assets = re.findall(rf'(?:src|href)="({CONSOLE}/assets/[^"]+)"', page)
    assert {asset.rpartition("/")[2] for asset in assets} >= {"style.css", "htmx.js", "form.js"}
    for asset in assets:
        assert Client().get(asset).status_code == 200, asset
    assert "start-data" in page
    script = next(name for name in assets if name.endswith("/page.js")).replace("page.js", "api.js")
    (accept,) = re.findall(r'ACCEPT = "(.+)"', Client().get(script).content.decode())
    labels = alice.get(f"/api/labels?task_id={failed.task_id}", headers={"Accept": accept})
    assert labels.status_code == 200
    assert alice.get(f"{CONSOLE}/functions").status_code == 200
    assert alice.get(CONSOLE)["Location"] == f"{CONSOLE}/requests"


def test_console_hides_requests_of_other_users_and_asks_strangers_to_log_in(
    session: Callable[[str], Client], failed: Request
) -> None:
    charlie = session("charlie")
    assert failed.pk not in charlie.get(f"{CONSOLE}/requests").content.decode()
    assert charlie.get(f"{CONSOLE}/requests/{failed.pk}").status_code == 404
    nobody = Client().get(f"{CONSOLE}/requests")
    assert (nobody.status_code, "Log in to CVAT first." in nobody.content.decode()) == (401, True)


def test_console_form_needs_the_token_of_the_page(
    session: Callable[[str], Client], failed: Request
) -> None:
    alice = session("alice")
    path = f"{CONSOLE}/requests/{failed.pk}"
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', alice.get(path).content.decode())
    assert found is not None
    assert alice.post(path, {"action": "retry"}).status_code == 403
    body = {"action": "retry", "csrfmiddlewaretoken": found[1]}
    assert alice.post(path, body)["Location"] == path
    failed.refresh_from_db()
    assert (failed.status, failed.done, failed.failed) == ("finished", 3, 0)


def test_resume_needs_a_role_of_cvat_and_the_right_to_edit_the_request(
    session: Callable[[str], Client],
    failed: Request,
    people: dict[str, Any],
) -> None:
    Outcome.objects.filter(request=failed, status=FrameStatus.FAILED).delete()
    Request.objects.filter(pk=failed.pk).update(status="cancelled", failed=0)
    failed.shards.update(status="cancelled", failed=0)
    alice = session("alice")
    page = f"{CONSOLE}/requests/{failed.pk}"
    token = {"X-CSRFToken": alice.cookies["csrftoken"].value}
    api = f"/api/lambda/requests/{failed.pk}/resume"
    charlie = session("charlie")
    assert (
        charlie.post(api, content_type=JSON, headers=token).status_code == 403
    )  # the token of another session
    own = {"X-CSRFToken": charlie.cookies["csrftoken"].value}
    assert charlie.post(api, content_type=JSON, headers=own).status_code == 404
    assert charlie.post(page, {"action": "resume"}, headers=own).status_code == 404

    people["alice"].groups.clear()
    assert alice.post(api, content_type=JSON, headers=token).status_code == 403
    assert alice.post(page, {"action": "resume"}, headers=token).status_code == 403
    for part in ("requests", "functions", "start", f"requests/{failed.pk}/outcomes.csv"):
        answer = alice.get(f"{CONSOLE}/{part}")
        assert (answer.status_code, "your role in CVAT" in answer.content.decode()) == (403, True)

    people["alice"].groups.set(people["bob"].groups.all())
    assert alice.post(api, content_type=JSON, headers=token).status_code == 200
    failed.refresh_from_db()
    assert (failed.status, failed.done) == ("finished", 3)


def test_assignee_of_a_job_opens_its_failed_frames(
    session: Callable[[str], Client], failed: Request, cvat: CvatScenarios
) -> None:
    (job_id,) = models.Job.objects.filter(segment__task=failed.task_id).values_list("pk", flat=True)
    Shard.objects.filter(request=failed).update(job_id=job_id)
    Request.objects.filter(pk=failed.pk).update(job_id=job_id)
    link = f"{CONSOLE}/open/{failed.task_id}/2"
    picture = f"{CONSOLE}/thumbnails/{failed.task_id}/2"
    bob = session("bob")
    assert [bob.get(path).status_code for path in (link, picture)] == [403, 403]
    cvat.assign_job(job_id, "bob")
    assert bob.get(f"{CONSOLE}/requests/{failed.pk}").status_code == 200
    assert bob.get(link)["Location"] == f"/tasks/{failed.task_id}/jobs/{job_id}?frame=2"
    assert bob.get(picture).status_code == 200


def test_assignee_of_a_job_gets_the_start_form_with_this_job_only(
    session: Callable[[str], Client], function: FunctionServer, cvat: CvatScenarios
) -> None:
    """The API let assignees start a request; the form answered 404."""
    task_id = cvat.task(frames=4, segment_size=2)
    first, second = models.Job.objects.filter(segment__task=task_id).order_by("pk")
    cvat.assign_job(second.pk, "bob")
    bob = session("bob")
    for query in (f"job={second.pk}", f"task={task_id}"):
        page = bob.get(f"{CONSOLE}/start?{query}")
        assert page.status_code == 200, page.content
        (text,) = re.findall(
            r'<script id="start-data" type="application/json">(.*?)</script>',
            page.content.decode(),
        )
        data = json.loads(text)
        assert [job["id"] for job in data["jobs"]] == [second.pk]
        assert [name for name, _ in data["scopes"]] == ["jobs", "frames"]
        assert "cars" in [item["id"] for item in data["functions"]]
    assert bob.get(f"{CONSOLE}/start?job={first.pk}").status_code == 403
    assert session("charlie").get(f"{CONSOLE}/start?task={task_id}").status_code == 403


def test_group_of_administrators_gets_the_buttons_of_a_function(
    session: Callable[[str], Client], function: FunctionServer, people: dict[str, Any]
) -> None:
    """CVAT's group "admin" has no permissions of Django."""
    button = '<button name="action" value="disable"'
    assert button not in session("alice").get(f"{CONSOLE}/functions/cars").content.decode()
    people["charlie"].groups.set([Group.objects.get_or_create(name="admin")[0]])
    charlie = session("charlie")
    page = charlie.get(f"{CONSOLE}/functions/cars")
    assert button in page.content.decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    assert found is not None
    body = {"action": "disable", "csrfmiddlewaretoken": found[1]}
    assert charlie.post(f"{CONSOLE}/functions/cars", body).status_code == 302
    assert Function.objects.get(pk="cars").enabled is False


@pytest.mark.parametrize("text", ["x", "-1", "9" * 30])
@pytest.mark.parametrize(
    "path", [f"{CONSOLE}/requests", f"{CONSOLE}/start", "/api/lambda/requests"]
)
def test_organization_id_that_is_no_number_answers_400(
    session: Callable[[str], Client], path: str, text: str
) -> None:
    """CVAT answers 500 to its own paths."""
    answer = session("alice").get(f"{path}?org_id={text}")
    assert answer.status_code == 400
    assert "org_id must be the number of an organization" in answer.content.decode()


def test_console_lists_tasks_and_requests_of_the_organization_that_the_address_names(
    session: Callable[[str], Client], failed: Request, cvat: CvatScenarios, people: dict[str, Any]
) -> None:
    Organization.objects.create(name="Lab", slug="lab", owner=people["alice"])
    alice = session("alice")
    assert failed.pk in alice.get(f"{CONSOLE}/requests").content.decode()
    assert failed.pk not in alice.get(f"{CONSOLE}/requests?org=lab").content.decode()
    assert "scenario" not in alice.get(f"{CONSOLE}/start?org=lab").content.decode()
    unknown = alice.get(f"{CONSOLE}/requests?org=nothing")
    assert (unknown.status_code, "nothing organization" in unknown.content.decode()) == (404, True)
