"""Django's admin shows functions and requests. Rows cannot be added there."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import Outcome, Request, Shard, Status
from tests.api.web.admin_rows import TABLES
from tests.conftest import IMAGES
from tests.ports import closed_port
from tests.rows_read import rows_read


@pytest.fixture
def administrator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "secret"))
    return client


@pytest.fixture
def queued(db: None) -> Request:
    row = Request.objects.create(
        function_id="finder", function_kind="detector", task_id=7, total=4, done=1
    )
    Shard.objects.create(
        request=row, index=0, task_id=7, frames=[[0, 3]], first_frame=0, last_frame=3
    )
    return row


def test_requests_are_listed_with_their_progress(administrator: Client, queued: Request) -> None:
    page = administrator.get("/admin/cvat_lambda/request/").content.decode()
    assert queued.pk in page
    assert "1 of 4" in page


def test_a_request_shows_its_shards(administrator: Client, queued: Request) -> None:
    page = administrator.get(f"/admin/cvat_lambda/request/{queued.pk}/change/").content.decode()
    assert "finder" in page
    assert f"{queued.pk}/0: task 7, queued" in page


def test_task_shows_the_types_of_its_labels_and_stores_a_new_one(
    administrator: Client, alice: User
) -> None:
    labels = [{"name": "car", "type": "rectangle"}, {"name": "tree", "type": "any"}]
    task = create_task(alice, "street", labels, [IMAGES / "chelsea.png"])
    path = f"/admin/engine/task/{task.pk}/change/"
    answer = administrator.get(path)
    page = answer.content.decode()
    chosen = re.findall(r'name="labels-\d+-type".*?<option value="(\w+)" selected>', page)
    assert sorted(chosen) == ["any", "rectangle"]
    forms = {"": answer.context["adminform"].form}
    for inline in answer.context["inline_admin_formsets"]:
        formset = inline.formset
        forms[formset.management_form.prefix] = formset.management_form
        forms.update({form.prefix: form for form in formset.forms})
    body = {
        field.html_name: "" if (value := field.value()) is None else value
        for form in forms.values()
        for field in form
    }
    (tree,) = [name for name, value in body.items() if name.endswith("-name") and value == "tree"]
    body[tree.replace("-name", "-type")] = "polygon"
    del body[tree.replace("-name", "-DELETE")]
    assert administrator.post(path, body).status_code == 302
    assert task.labels.get(name="tree").type == "polygon"


def test_an_administrator_can_cancel_requests(administrator: Client, queued: Request) -> None:
    administrator.post(
        "/admin/cvat_lambda/request/",
        {"action": "cancel_requests", "_selected_action": [queued.pk]},
    )
    queued.refresh_from_db()
    assert queued.status == Status.CANCELLED


def test_retry_of_a_queued_request_shows_why_it_is_refused(
    administrator: Client, queued: Request
) -> None:
    page = administrator.post(
        "/admin/cvat_lambda/request/",
        {"action": "retry_requests", "_selected_action": [queued.pk]},
        follow=True,
    ).content.decode()
    assert (
        f"request {queued.pk} is queued: wait for its end" in page.lower()
    )  # Django 4.2 writes a capital letter


@pytest.mark.parametrize("table", ["request", "outcome"])
def test_adding_a_row_by_hand_answers_403(administrator: Client, table: str) -> None:
    assert administrator.get(f"/admin/cvat_lambda/{table}/add/").status_code == 403


def test_functions_are_listed_with_their_problem(administrator: Client) -> None:
    Function.objects.create(id="broken", problem="label 'car' has no type")
    page = administrator.get("/admin/cvat_lambda/function/").content.decode()
    assert "broken" in page
    assert "label &#x27;car&#x27; has no type" in page


def test_an_administrator_can_undo_requests(administrator: Client, queued: Request) -> None:
    Request.objects.update(status=Status.FINISHED)
    administrator.post(
        "/admin/cvat_lambda/request/",
        {"action": "undo_requests", "_selected_action": [queued.pk]},
    )
    queued.refresh_from_db()
    assert queued.undone_at is not None


def test_progress_of_a_request_is_a_bar(administrator: Client, queued: Request) -> None:
    page = administrator.get("/admin/cvat_lambda/request/").content.decode()
    assert (
        '<progress max="4" value="1" aria-label="frames that have ended"></progress> 1 of 4' in page
    )


def test_an_administrator_can_read_the_functions_of_the_platform_again(
    administrator: Client, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_NUCLIO_URL = f"http://127.0.0.1:{closed_port()}"
    row = Function.objects.create(id="finder")
    page = administrator.post(
        "/admin/cvat_lambda/function/",
        {"action": "refresh", "_selected_action": [row.pk]},
        follow=True,
    ).content.decode()
    assert '<li class="error">' in page


def test_an_administrator_can_switch_a_function_off_and_on(administrator: Client) -> None:
    row = Function.objects.create(id="finder")
    for action, enabled in (("disable", False), ("enable", True)):
        administrator.post(
            "/admin/cvat_lambda/function/", {"action": action, "_selected_action": [row.pk]}
        )
        row.refresh_from_db()
        assert row.enabled is enabled


def test_requests_are_filtered_by_status_kind_and_text(
    administrator: Client, queued: Request
) -> None:
    other = Request.objects.create(
        function_id="tracker-1", function_kind="tracker", task_id=8, status=Status.FAILED
    )
    for query in ("status__exact=failed", "function_kind=tracker", "q=tracker-1"):
        page = administrator.get(f"/admin/cvat_lambda/request/?{query}").content.decode()
        assert (other.pk in page, queued.pk in page) == (True, False), query


@pytest.mark.parametrize("name", TABLES)
def test_list_in_the_admin_needs_the_same_number_of_queries_for_more_rows(
    administrator: Client, alice: User, name: str
) -> None:
    """Progress of requests, and agents and entries of native functions had a query for each row."""
    path = f"/admin/{name.replace('.', '/')}/"
    counts = []
    for first in (0, 2):
        for number in range(first, first + 2 + 5 * first):
            TABLES[name](alice, number)
        with CaptureQueriesContext(connection) as queries:
            page = administrator.get(path)
        counts.append(len(queries))
        assert page.status_code == 200
    assert counts[0] == counts[1], [query["sql"][:200] for query in queries]


def test_every_table_of_the_admin_has_a_test_of_its_queries() -> None:
    ours = ("cvat_lambda", "engine")
    registered = {
        f"{model._meta.app_label}.{model._meta.model_name}"
        for model in apps.get_models()
        if model._meta.app_label in ours and admin.site.is_registered(model)
    }
    assert registered == set(TABLES)


@pytest.mark.parametrize(
    ("table", "term", "is_found"),
    [
        ("request", "finder", True),  # the function
        ("request", "alice", True),  # the owner
        ("request", "find", False),
        ("outcome", "nothing", False),
    ],
)
def test_search_compares_whole_names_which_have_an_index(
    administrator: Client, queued: Request, alice: User, table: str, term: str, is_found: bool
) -> None:
    Request.objects.update(owner=alice)
    page = administrator.get(f"/admin/cvat_lambda/{table}/", {"q": term})
    assert page.context["cl"].result_count == int(is_found)
    assert "up to 10,000 rows" in page.content.decode()


def test_search_by_id_finds_the_request_and_its_outcomes(
    administrator: Client, queued: Request
) -> None:
    shard = queued.shards.get()
    Outcome.objects.create(request=queued, shard=shard, task_id=7, frame=0, status="done")
    for table in ("request", "outcome"):
        page = administrator.get(f"/admin/cvat_lambda/{table}/", {"q": queued.pk})
        assert page.context["cl"].result_count == 1


@pytest.mark.parametrize("way", ["page", "action"])
def test_task_is_deleted_without_a_list_of_its_annotations(administrator: Client, way: str) -> None:
    """The page that asks for a confirmation listed every shape."""
    task = create_task(None, "Street", ["car"], [IMAGES / "coffee.png"])
    label = models.Label.objects.get(task=task)
    models.LabeledShape.objects.bulk_create(
        models.LabeledShape(task=task, label=label, frame=0, type="rectangle") for _ in range(20)
    )
    path, form = f"/admin/engine/task/{task.pk}/delete/", {"post": "yes"}
    if way == "action":
        path = "/admin/engine/task/"
        form = {"action": "delete_selected", "_selected_action": str(task.pk)}
    with rows_read(models.LabeledShape, models.Image) as read:
        asked = administrator.post(path, form) if way == "action" else administrator.get(path)
        assert "Street" in asked.content.decode()
        assert administrator.post(path, {**form, "post": "yes"}).status_code == 302
    assert dict(read) == {}
    assert not models.Task.objects.exists()
