"""Every page is checked with axe-core, in light and in dark mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django
import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.requests.store.models import (
    FrameStatus,
    Outcome,
    Request,
    Shard,
    Status,
)
from tests.api.web.admin_rows import TABLES
from tests.conftest import IMAGES
from tests.integration.requests.conftest import store_function

Open = Callable[..., Page]
SERIOUS = ("serious", "critical")
OF_COLOURS = ["color-contrast", "link-in-text-block"]  # the rules that depend on colours


@pytest.fixture
def pages(transactional_db: None, alice: User) -> list[str]:
    """The paths of all pages, with something on each of them."""
    labels = [{"name": "car", "type": "rectangle"}, {"name": "person"}]
    task = create_task(alice, "Street", labels, [IMAGES / "coffee.png"])
    engine = get_engine()
    car = engine.task(task.pk).labels[0].id or 0
    box = Shape(type="rectangle", frame=0, label_id=car, points=(100, 50, 300, 250), score=0.4)
    with engine.atomic():
        engine.apply(Change(task_id=task.pk, frames=(0,), add=LabeledData(shapes=(box,))))
    store_function("http://127.0.0.1:9/", "finder")
    rows = []
    for status in (Status.FINISHED, Status.CANCELLED, Status.FAILED):
        row = Request.objects.create(
            owner=alice,
            task_id=task.pk,
            function_id="finder",
            function_kind="detector",
            status=status,
            total=2,
            done=0 if status == Status.FAILED else 1,
            failed=1,
            error_message="All frames failed." if status == Status.FAILED else "",
        )
        shard = Shard.objects.create(
            request=row, index=0, task_id=task.pk, frames=[[0, 0]], first_frame=0, last_frame=0
        )
        Outcome.objects.create(
            request=row,
            shard=shard,
            task_id=task.pk,
            frame=0,
            status=FrameStatus.FAILED,
            code="function_failed",
            message="the lens is dirty",
        )
        rows.append(row)
    return [
        *("/", "/tasks/new", f"/tasks/{task.pk}", f"/tasks/{task.pk}/frames/0"),
        *("/requests", "/requests?state=queued", "/functions", "/functions/finder"),
        *("/start", f"/start?task={task.pk}"),
        *(f"/requests/{row.pk}" for row in rows),
    ]


def serious(page: Page, scheme: str = "light") -> list[tuple[str, list[str]]]:
    """Return the rules that the page breaks, and the first elements of each.

    In dark mode only the rules of colours are checked.
    """
    options = {"resultTypes": ["violations"]}
    if scheme == "dark":
        options["runOnly"] = OF_COLOURS
    violations = Axe().run(page, options=options).response["violations"]
    return [
        (item["id"], [node["html"][:120] for node in item["nodes"][:3]])
        for item in violations
        if item["impact"] in SERIOUS
    ]


def findings_in_both_modes(page: Page, path: str) -> dict[tuple[str, str], Any]:
    """Return what `serious` finds on the open page in light and in dark mode."""
    found: dict[tuple[str, str], Any] = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found[path, scheme] = serious(page, scheme)
    return found


def test_pages_have_no_serious_finding_of_axe(
    open_page: Open, alice: User, pages: list[str]
) -> None:
    page = open_page(alice, "/")
    found: dict[tuple[str, str], Any] = {}
    for path in pages:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        found |= findings_in_both_modes(page, path)
    assert {place: rules for place, rules in found.items() if rules} == {}


def test_login_page_has_no_serious_finding_of_axe(
    browser: Browser, live_server: LiveServer
) -> None:
    page = browser.new_page()
    page.goto(f"{live_server.url}/login")
    found = serious(page)
    page.close()
    assert found == []


@pytest.mark.skipif(
    django.VERSION < (5,),
    reason="Django 4.2's own admin has breadcrumbs of low contrast and check boxes without names",
)
def test_pages_of_the_admin_have_no_serious_finding_of_axe(
    browser: Browser, live_server: LiveServer, transactional_db: None, alice: User
) -> None:
    """Not by `open_page`: axe itself applies inline styles there, which the policy blocks."""
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "secret"))
    key = client.cookies["sessionid"].value
    context = browser.new_context(base_url=live_server.url, bypass_csp=True)
    context.add_cookies([{"name": "sessionid", "value": key, "url": live_server.url}])
    page = context.new_page()
    found: dict[tuple[str, str], Any] = {}
    for number, (name, make) in enumerate(TABLES.items()):
        row = make(alice, number)
        table = f"/admin/{name.replace('.', '/')}/"
        for path in (table, f"{table}{row.pk}/change/"):
            page.goto(path)
            # The colours of links change in a transition, and axe would see one of its colours.
            page.add_style_tag(content="* { transition: none !important }")
            found |= findings_in_both_modes(page, path)
    context.close()
    assert {place: rules for place, rules in found.items() if rules} == {}
