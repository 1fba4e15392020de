"""The pages in a real browser: their script, and their width on a phone."""

from __future__ import annotations

import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import Request, Shard, Status
from tests.conftest import IMAGES, REPOSITORY, ClientFor

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
STATIC = REPOSITORY / "cvat_lambda" / "web" / "static" / "cvat_lambda"
PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"needs one of {', '.join(BROWSERS)}")

Answer = tuple[int, str, str]  # status, content type, body


class Site:
    """A web server that answers from a table and records what the browser requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Answer]] = {}
        self.heard: queue.Queue[str] = queue.Queue()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = f"{self.command} {self.path}"
                known = site.answers.get(asked)
                status, kind, body = known() if known else (404, "text/plain", "")
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.end_headers()
                self.wfile.write(body.encode())
                site.heard.put(asked)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Site:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def html(self, asked: str, body: str) -> None:
        self.answers[asked] = lambda: (200, "text/html", body)

    def wait_for(self, beginning: str) -> str:
        """Return the next request that begins so. Raise `queue.Empty` after a timeout."""
        while True:
            asked = self.heard.get(timeout=PATIENCE_S)
            if asked.startswith(beginning):
                return asked


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        for name, kind in (("progress.js", "text/javascript"), ("style.css", "text/css")):
            text = (STATIC / name).read_text()
            site.answers[f"GET /static/cvat_lambda/{name}"] = lambda kind=kind, text=text: (  # type: ignore[misc]
                200,
                kind,
                text,
            )
        yield site


@pytest.fixture
def visit(site: Site, tmp_path: Path) -> Iterator[None]:
    """A browser that opens the site's start page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    process = subprocess.Popen(
        [
            str(BROWSER),
            *options,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--remote-debugging-port=0",  # without it the browser exits at once
            f"{site.url}/start",
        ],
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


LIVE = """<!doctype html><div class="progress" data-progress="/progress" data-live="1">
<progress></progress><span class="words"></span></div>
<script src="/static/cvat_lambda/progress.js"></script>"""


@pytest.fixture
def refused_form(site: Site) -> None:
    """A form whose answer is a page with the progress of a running request."""
    numbers = {"done": 4, "failed": 0, "skipped": 0, "total": 4, "rate": None, "eta_s": None}
    ended = (200, "application/json", json.dumps({"status": "finished", **numbers}))
    answers = iter([(503, "text/plain", "starting"), ended])
    site.answers["GET /progress"] = lambda: next(answers, ended)
    form = '<form method="post" action="/task"></form><script>document.forms[0].submit()</script>'
    site.html("GET /start", f"<!doctype html>{form}")
    site.html("POST /task", LIVE)
    site.html("GET /task", "<!doctype html>the end")


@pytest.mark.usefixtures("refused_form", "visit")
def test_page_continues_after_a_server_restart_and_does_not_resend_its_form(site: Site) -> None:
    assert site.wait_for("POST /task")
    asked = [site.wait_for("GET /progress") for _ in range(2)]
    assert asked == ["GET /progress", "GET /progress"]  # the first was answered with 503
    while not (asked_next := site.wait_for("")).endswith(" /task"):
        pass
    assert asked_next == "GET /task"


SHOWN = """<!doctype html><div data-request><span data-badge>queued</span>
<span data-shapes>0</span>{live}</div><div id="failures">{failures}</div>"""
REPORT = """<script>setInterval(() => {
  const text = (name) => document.querySelector(name).textContent;
  fetch("/shown?" + [text("[data-badge]"), text("[data-shapes]"), text("#failures")].join("|"));
}, 200);</script>"""


@pytest.fixture
def live_request(site: Site) -> None:
    """A page of a running request. One of its frames fails while the page is open."""
    numbers = {"done": 2, "failed": 1, "skipped": 0, "total": 4, "rate": None, "eta_s": None}
    badge = {"text": "started", "style": "started"}
    now = json.dumps({"status": "started", "badge": badge, "shapes": 7, **numbers})
    site.answers["GET /progress"] = lambda: (200, "application/json", now)
    pages = iter(["none", *["frame 3 failed"] * 1000])
    site.answers["GET /start"] = lambda: (
        200,
        "text/html",
        SHOWN.format(live=LIVE.partition(">")[2], failures=next(pages)) + REPORT,
    )


@pytest.mark.usefixtures("live_request", "visit")
def test_live_page_shows_new_states_shapes_and_failures_without_a_reload(site: Site) -> None:
    wanted = "GET /shown?started|7|frame%203%20failed"
    while site.wait_for("GET /shown?") != wanted:
        pass


@pytest.fixture
def phone_pages(site: Site, client_for: ClientFor, alice: User) -> list[str]:
    """Show every page with long names in frames as wide as a phone. Return the pages' paths."""
    name = "averylongnamewithoutaspace" * 5
    task = create_task(alice, name, [{"name": name[:60]}], [IMAGES / "coffee.png"])
    Function.objects.create(id=name[:100], name=name, problem=f"{name}: no label", state="ready")
    row = Request.objects.create(
        owner=alice,
        task_id=task.pk,
        function_id=name[:100],
        function_kind="detector",
        status=Status.FAILED,
        total=1,
        error_message=name,
    )
    Shard.objects.create(
        request=row, index=0, task_id=task.pk, frames=[[0, 0]], first_frame=0, last_frame=0
    )
    client = client_for(alice)
    pages = ["/", "/functions", f"/tasks/{task.pk}", f"/tasks/{task.pk}/frames/0"]
    pages.append(f"/requests/{row.pk}")
    for page in pages:
        site.html(f"GET {page}", client.get(page).content.decode())
    frames = "".join(f'<iframe src="{page}" width="390" height="844"></iframe>' for page in pages)
    say = """onload = () => { const widths = [...document.querySelectorAll("iframe")].map(
        (frame) => frame.contentDocument.documentElement.scrollWidth);
        fetch("/widths?" + widths.join()); };"""
    site.html("GET /start", f"<!doctype html>{frames}<script>{say}</script>")
    return pages


def test_pages_with_long_names_fit_the_width_of_a_phone(
    site: Site, phone_pages: list[str], visit: None
) -> None:
    widths = site.wait_for("GET /widths?").partition("?")[2].split(",")
    shown = dict(zip(phone_pages, map(int, widths), strict=True))
    assert [page for page, width in shown.items() if width > 390] == []
