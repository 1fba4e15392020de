"""The content of the pages, and who may view them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.signals import post_init
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from PIL import Image
from pytest_django import Settings

from cvat_lambda.annotations.types import LabeledData, Shape, Tag, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.tasks import create_ground_truth_job, create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import (
    FrameStatus,
    FunctionVersion,
    ObjectKind,
    Outcome,
    Provenance,
    Request,
    Shard,
    Status,
)
from cvat_lambda.web import request_rows
from cvat_lambda.web.assets import asset_url
from cvat_lambda.web.errors import server_error
from cvat_lambda.web.function_figures import figures_of
from cvat_lambda.web.outcome_files import ROWS_AT_ONCE
from tests.conftest import IMAGES, ClientFor
from tests.integration.engine.videos import make_video
from tests.integration.requests.conftest import store_function
from tests.integration.requests.function_server import FunctionServer


@pytest.fixture
def task(alice: User) -> models.Task:
    """A task of two photographs. A request found a person on the first one."""
    files: list[Path] = [IMAGES / "astronaut.png", IMAGES / "coffee.png"]
    return create_task(alice, "Photographs", [{"name": "person", "type": "rectangle"}], files)


@pytest.fixture
def request_row(task: models.Task, alice: User) -> Request:
    """A finished request with one frame done and one failed."""
    row = Request.objects.create(
        owner=alice,
        task_id=task.pk,
        function_id="person-finder",
        function_kind="detector",
        status=Status.FINISHED,
        total=2,
        done=1,
        failed=1,
        shapes=1,
    )
    shard = Shard.objects.create(
        request=row,
        index=0,
        task_id=task.pk,
        frames=[[0, 1]],
        first_frame=0,
        last_frame=1,
        status=Status.FINISHED,
    )
    Outcome.objects.create(
        request=row,
        shard=shard,
        task_id=task.pk,
        frame=1,
        status=FrameStatus.FAILED,
        code="function_failed",
        message="the coffee was too hot",
        attempts=3,
    )
    engine = get_engine()
    label = engine.task(task.pk).labels[0]
    assert label.id is not None
    shape = Shape(
        type="rectangle", frame=0, label_id=label.id, points=(10, 20, 300, 400), score=0.87
    )
    with engine.atomic():
        written = engine.apply(
            Change(task_id=task.pk, frames=(0,), add=LabeledData(shapes=(shape,)))
        )
    Provenance.objects.create(
        request=row,
        task_id=task.pk,
        frame=0,
        kind=ObjectKind.SHAPE,
        object_id=written.shape_ids[0][0],
        version=FunctionVersion.objects.create(
            function_id="person-finder", version=4, revision="abc"
        ),
        score=0.87,
    )
    return row


def test_home_lists_the_tasks_and_requests_of_the_user(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    page = client_for(alice).get("/").content.decode()
    assert "Photographs" in page
    assert "person-finder" in page
    assert "1 failed" in page


def test_task_page_shows_frames_with_their_annotations(
    client_for: ClientFor, alice: User, task: models.Task, request_row: Request
) -> None:
    page = client_for(alice).get(f"/tasks/{task.pk}").content.decode()
    assert "astronaut.png" in page
    assert 'points="10.0,20.0 300.0,20.0 300.0,400.0 10.0,400.0 10.0,20.0"' in page


def test_task_page_of_a_video_does_not_decode_it(
    client_for: ClientFor, alice: User, tmp_path: Path
) -> None:
    """The page used to seek, decode and encode each frame only to learn its size."""
    video = make_video(tmp_path / "crossing.mp4", frames=5)
    task = create_task(alice, "Crossing", [{"name": "person"}], [video])
    (row,) = models.Video.objects.filter(data__task=task)
    (storage.data_folder(row.data.folder) / row.path).write_bytes(b"no video any more")
    page = client_for(alice).get(f"/tasks/{task.pk}").content.decode()
    assert page.count(f'viewBox="0 0 {row.width} {row.height}"') == 5
    frame = client_for(alice).get(f"/tasks/{task.pk}/frames/4/data").json()
    assert "frame 4 " in frame["problem"]  # the frame page decodes the frame
    assert "cannot be read as an image" in frame["problem"]


def test_frame_page_names_the_request_of_each_shape(
    client_for: ClientFor, alice: User, task: models.Task, request_row: Request
) -> None:
    client = client_for(alice)
    (shape,) = client.get(f"/tasks/{task.pk}/frames/0/data").json()["annotations"]
    assert (shape["kind"], shape["points"], shape["score"]) == ("shape", [10, 20, 300, 400], 0.87)
    assert shape["made_by"] == {
        "request": request_row.pk,
        "url": f"/requests/{request_row.pk}",
        "version": "person-finder v4",
    }
    assert '"name": "person"' in client.get(f"/tasks/{task.pk}/frames/0").content.decode()


def test_frame_page_names_the_request_of_tracks_and_tags(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    """Tracks of a ReID request are shown on every frame on which they are visible."""
    files = [IMAGES / "astronaut.png", IMAGES / "coffee.png", IMAGES / "chelsea.png"]
    task = create_task(alice, "Frames", [{"name": "person"}, {"name": "night"}], files)
    engine = get_engine()
    person, night = (label.id or 0 for label in engine.task(task.pk).labels)
    keys = (
        TrackedShape(type="rectangle", frame=0, points=(10, 20, 30, 40)),
        TrackedShape(type="rectangle", frame=2, points=(20, 40, 40, 60)),
    )
    made = LabeledData(
        tags=(Tag(frame=1, label_id=night),),
        tracks=(Track(frame=0, label_id=person, shapes=keys),),
    )
    with engine.atomic():
        written = engine.apply(Change(task_id=task.pk, frames=(0, 1, 2), add=made))
    for kind, ids in ((ObjectKind.TAG, written.tag_ids), (ObjectKind.TRACK, written.track_ids)):
        Provenance.objects.create(
            request=request_row, task_id=task.pk, frame=0, kind=kind, object_id=ids[0][0]
        )
    client = client_for(alice)
    whole = client.get(f"/tasks/{task.pk}").content.decode()
    middle = 'points="15.0,30.0 35.0,30.0 35.0,50.0 15.0,50.0 15.0,30.0"'
    assert whole.count("<polyline") == 3
    assert middle in whole
    assert re.findall(r"<figcaption>(.*)</figcaption>", whole)[1].endswith("· 1 shape · night")
    track, tag = client.get(f"/tasks/{task.pk}/frames/1/data").json()["annotations"]
    assert (track["kind"], track["points"]) == ("track", [15, 30, 35, 50])
    assert track["keyframe"] is False
    whole_track = client.get(f"/tasks/{task.pk}/tracks/{track['id']}").json()
    assert [shape["frame"] for shape in whole_track["shapes"]] == [0, 2]
    assert (tag["kind"], tag["label_id"]) == ("tag", night)
    assert track["made_by"]["request"] == tag["made_by"]["request"] == request_row.pk


@pytest.mark.parametrize("track_id", [0, 77, 2**63, 10**30])
def test_unknown_track_of_a_task_answers_404(
    client_for: ClientFor, alice: User, task: models.Task, track_id: int
) -> None:
    answer = client_for(alice).get(f"/tasks/{task.pk}/tracks/{track_id}")
    assert answer.status_code == 404


def test_track_of_a_ground_truth_job_answers_404_on_the_page_of_its_task(
    client_for: ClientFor, alice: User, bob: User, task: models.Task
) -> None:
    """The assignee of another job may view the task, but not the ground truth."""
    engine = get_engine()
    (label,) = engine.task(task.pk).labels
    job = create_ground_truth_job(task, [0])
    key = TrackedShape(type="rectangle", frame=0, points=(10, 20, 30, 40))
    track = Track(frame=0, label_id=label.id or 0, shapes=(key,))
    change = Change(task_id=task.pk, job_id=job.pk, add=LabeledData(tracks=(track,)))
    with engine.atomic():
        ((track_id,),) = engine.apply(change).track_ids
    models.Job.objects.filter(segment__task=task, type="annotation").update(assignee=bob)
    for person in (alice, bob):
        client = client_for(person)
        assert client.get(f"/tasks/{task.pk}/frames/0/data").status_code == 200
        assert client.get(f"/tasks/{task.pk}/tracks/{track_id}").status_code == 404


def test_track_without_an_end_is_shown_until_the_last_frame_of_its_job(
    client_for: ClientFor, alice: User
) -> None:
    files = [IMAGES / "astronaut.png", IMAGES / "coffee.png", IMAGES / "chelsea.png"]
    task = create_task(alice, "Two jobs", [{"name": "person"}], files, segment_size=2)
    engine = get_engine()
    (label,) = engine.task(task.pk).labels
    key = TrackedShape(type="rectangle", frame=0, points=(10, 20, 30, 40))
    track = Track(frame=0, label_id=label.id or 0, shapes=(key,))
    with engine.atomic():
        engine.apply(Change(task_id=task.pk, frames=(0,), add=LabeledData(tracks=(track,))))
    client = client_for(alice)
    found = [client.get(f"/tasks/{task.pk}/frames/{n}/data").json() for n in range(3)]
    assert [len(frame["annotations"]) for frame in found] == [1, 1, 0]


def test_request_page_shows_the_causes_of_failed_frames(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    page = client_for(alice).get(f"/requests/{request_row.pk}").content.decode()
    assert "the coffee was too hot" in page
    assert "Run the failed frames again" in page


def test_undo_on_the_request_page_removes_the_added_annotations(
    client_for: ClientFor, alice: User, task: models.Task, request_row: Request
) -> None:
    answer = client_for(alice).post(f"/requests/{request_row.pk}", {"action": "undo"})
    assert answer.status_code == 302
    assert get_engine().annotations(task.pk).shapes == ()


def test_unknown_action_on_the_request_page_answers_400(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    answer = client_for(alice).post(f"/requests/{request_row.pk}", {"action": "explode"})
    assert answer.status_code == 400
    assert "cancel, resume, retry or undo" in answer.content.decode()


def test_progress_of_a_request_is_answered_as_numbers(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    answer = client_for(alice).get(f"/requests/{request_row.pk}/progress").json()
    assert (answer["status"], answer["done"], answer["failed"], answer["total"]) == (
        "finished",
        1,
        1,
        2,
    )


@pytest.mark.parametrize(
    ("failed", "total", "badge"),
    [
        (0, 4, {"text": "finished", "style": "finished"}),
        (1, 4, {"text": "finished with 1 failed frame", "style": "partly"}),
        (3, 4, {"text": "finished with 3 failed frames", "style": "failed"}),
    ],
)
def test_badge_of_a_request_with_failed_frames_shows_the_failures(
    client_for: ClientFor,
    alice: User,
    request_row: Request,
    failed: int,
    total: int,
    badge: dict[str, str],
) -> None:
    counts = {"failed": failed, "done": total - failed, "total": total}
    Request.objects.filter(pk=request_row.pk).update(**counts)
    client = client_for(alice)
    assert client.get(f"/requests/{request_row.pk}/progress").json()["badge"] == badge
    for page in ("/", "/requests", f"/requests/{request_row.pk}"):
        shown = re.findall(
            r'class="state (\w+)" data-badge[^>]*>([^<]*)<', client.get(page).content.decode()
        )
        assert shown == [(badge["style"], badge["text"])]


def test_null_character_in_the_path_of_a_request_answers_404(
    client_for: ClientFor, alice: User
) -> None:
    assert client_for(alice).get("/requests/%00").status_code == 404
    assert client_for(alice).get("/requests/%00/progress").status_code == 404
    assert client_for(alice).get("/api/lambda/requests/%00").status_code == 404
    assert client_for(alice).get("/api/requests/%00").status_code == 404


def test_times_on_pages_name_their_time_zone(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    created = datetime(2026, 3, 1, 23, 5, tzinfo=timezone.utc)
    Request.objects.filter(pk=request_row.pk).update(created_at=created)
    assert "2026-03-01 23:05:00 UTC" in client_for(alice).get("/").content.decode()


def test_retry_button_of_a_request_that_stopped_early_includes_missing_frames(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    Request.objects.filter(pk=request_row.pk).update(total=900, status=Status.FAILED)
    page = client_for(alice).get(f"/requests/{request_row.pk}").content.decode()
    assert "Run the failed and missing frames again" in page
    assert "Resume: run the 898 missing frames" in page


def known(function_id: str, label: str, kind: str = "detector", state: str = "ready") -> None:
    """Add a function to the registry."""
    annotations = {"type": kind, "spec": json.dumps([{"name": label, "type": "rectangle"}])}
    metadata = {"name": function_id, "annotations": annotations}
    Function.objects.create(
        id=function_id,
        kind=kind,
        state=state,
        metadata={"metadata": metadata, "spec": {}, "status": {"state": state}},
    )


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", 1),
        ("state=partly", 1),
        ("state=finished&function=person-finder&owner=alice&period=24", 1),
        ("state=failed", 0),
        ("task=x", 0),
        ("task=999999", 0),
        ("owner=bob", 0),
        ("period=5", 0),
    ],
)
def test_list_of_requests_shows_those_that_match_the_filters(
    client_for: ClientFor, alice: User, request_row: Request, query: str, shown: int
) -> None:
    page = client_for(alice).get(f"/requests?{query}").content.decode()
    assert page.count("<tr data-request=") == shown


@pytest.mark.parametrize(
    "query", ["state=failed", "function=other", "task=999999", "owner=bob", "period=5"]
)
def test_list_of_requests_says_that_no_request_matches_a_filter(
    client_for: ClientFor, alice: User, request_row: Request, query: str
) -> None:
    page = client_for(alice).get(f"/requests?{query}").content.decode()
    assert "No request matches the filters." in page


def test_failed_frames_with_the_same_cause_are_one_group(
    client_for: ClientFor, alice: User, task: models.Task, request_row: Request
) -> None:
    """Messages that differ in numbers only are the same cause."""
    shard = request_row.shards.get()
    for frame, message in ((2, "frame 2 took 3.5 s"), (3, "frame 3 took 4 s")):
        Outcome.objects.create(
            request=request_row,
            shard=shard,
            task_id=task.pk,
            frame=frame,
            status=FrameStatus.FAILED,
            code="function_timeout",
            message=message,
        )
    page = client_for(alice).get(f"/requests/{request_row.pk}").content.decode()
    assert re.findall(r'<span class="state failed">(\d+) frames?</span>', page) == ["2", "1"]
    assert page.count(f'src="/thumbnails/{task.pk}/') == 3


def test_outcomes_are_downloaded_as_csv_and_json(
    client_for: ClientFor, alice: User, task: models.Task, request_row: Request
) -> None:
    Outcome.objects.update(message="=HYPERLINK(1)")  # a spreadsheet would run it
    client = client_for(alice)
    answer = client.get(f"/requests/{request_row.pk}/outcomes.csv")
    (row,) = csv.DictReader(io.StringIO(b"".join(answer).decode()))
    assert (row["task"], row["frame"], row["status"]) == (str(task.pk), "1", "failed")
    assert row["message"] == "'=HYPERLINK(1)"
    assert f'filename="{request_row.pk}.csv"' in answer["Content-Disposition"]
    (found,) = json.loads(b"".join(client.get(f"/requests/{request_row.pk}/outcomes.json")))
    assert (found["frame"], found["message"], found["attempts"]) == (1, "=HYPERLINK(1)", 3)


@pytest.fixture
def built() -> Iterator[list[int]]:
    """The frames of the outcomes that were made from rows of the database, in order."""
    frames: list[int] = []

    def note(instance: Outcome, **_: Any) -> None:
        frames.append(instance.frame)

    post_init.connect(note, sender=Outcome)
    yield frames
    post_init.disconnect(note, sender=Outcome)


@pytest.fixture
def many_outcomes(request_row: Request) -> int:
    """As many outcomes as two parts of a download and a little more. Return their number."""
    count = 2 * ROWS_AT_ONCE + 3
    shard = request_row.shards.get()
    Outcome.objects.all().delete()
    Outcome.objects.bulk_create(
        Outcome(
            request=request_row,
            shard=shard,
            task_id=shard.task_id,
            frame=frame,
            status=FrameStatus.DONE,
        )
        for frame in range(count)
    )
    return count


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_download_reads_outcomes_in_one_query_while_the_client_reads_the_file(
    client_for: ClientFor,
    alice: User,
    request_row: Request,
    many_outcomes: int,
    built: list[int],
    suffix: str,
) -> None:
    client = client_for(alice)
    built.clear()
    with CaptureQueriesContext(connection) as queries:
        lines = iter(client.get(f"/requests/{request_row.pk}/outcomes.{suffix}"))
        next(lines)
        assert len(built) <= ROWS_AT_ONCE
        list(lines)
    assert built == list(range(many_outcomes))
    reads = [query for query in queries if "lambda_outcome" in query["sql"]]
    assert len(reads) == 1


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_download_under_asgi_reads_outcomes_while_the_client_reads_the_file(
    client_for: ClientFor,
    alice: User,
    request_row: Request,
    many_outcomes: int,
    built: list[int],
    suffix: str,
) -> None:
    client = AsyncClient()
    client.cookies = client_for(alice).cookies
    built.clear()

    async def download() -> tuple[int, str]:
        answer: Any = await client.get(f"/requests/{request_row.pk}/outcomes.{suffix}")
        parts = aiter(answer.streaming_content)
        text = await anext(parts)
        after_first = len(built)
        async for part in parts:
            text += part
        return after_first, text.decode()

    after_first, text = async_to_sync(download)()
    assert (after_first, len(built)) == (ROWS_AT_ONCE, many_outcomes)
    rows = json.loads(text) if suffix == "json" else list(csv.DictReader(io.StringIO(text)))
    assert [int(row["frame"]) for row in rows] == list(range(many_outcomes))


@pytest.mark.parametrize(("path", "a_page"), [("/", 24), ("/start", 50)])
def test_pages_of_tasks_read_the_ids_of_their_own_tasks_only(
    client_for: ClientFor, alice: User, task: models.Task, path: str, a_page: int
) -> None:
    for number in range(52):
        create_task(alice, f"task {number}", [{"name": "a"}], [IMAGES / "coffee.png"])
    client = client_for(alice)
    with CaptureQueriesContext(connection) as queries:
        page = client.get(path).content.decode()
    assert ("task 51" in page, "Photographs" in page) == (True, False)
    (listed,) = [sql for sql in (query["sql"] for query in queries) if f"LIMIT {a_page}" in sql]
    assert listed.startswith('SELECT "engine_task"."id"'), listed
    last = client.get(f"{path}?page=9").content.decode()  # the last page
    assert "Photographs" in last


def test_outcomes_of_a_request_without_any_are_an_empty_list(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    Outcome.objects.all().delete()
    answer = client_for(alice).get(f"/requests/{request_row.pk}/outcomes.json")
    assert json.loads(b"".join(answer)) == []


def test_undo_button_says_how_many_annotations_it_removes(
    client_for: ClientFor, alice: User, request_row: Request
) -> None:
    page = client_for(alice).get(f"/requests/{request_row.pk}").content.decode()
    assert "Undo: remove 1 shape</button>" in page


def test_thumbnail_is_a_small_image_that_browsers_keep(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    client = client_for(alice)
    answer = client.get(f"/thumbnails/{task.pk}/0")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, max(image.size)) == ("JPEG", 256)
    again = client.get(f"/thumbnails/{task.pk}/0", HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (again.status_code, again.content) == (304, b"")


def test_assets_are_kept_by_browsers_under_a_path_with_their_version(client: Client) -> None:
    address = asset_url("style.css")
    answer = client.get(address)
    assert (answer["Content-Type"], answer["Cache-Control"]) == (
        "text/css",
        "public, max-age=31536000, immutable",
    )
    older = client.get("/assets/older/htmx.js")
    assert (older.status_code, older["Cache-Control"]) == (200, "no-cache")
    assert client.get("/assets/older/../pages.py").status_code == 404


def test_administrator_switches_a_function_off(client_for: ClientFor, db: None) -> None:
    known("persons", "person")
    root = User.objects.create_superuser("root", "root@example.com", "root-secret")
    answer = client_for(root).post("/functions/persons", {"action": "disable"}, follow=True)
    assert "The function is switched off" in answer.content.decode()
    assert not Function.objects.get(pk="persons").enabled


def test_functions_page_shows_the_problem_of_a_function(client_for: ClientFor, alice: User) -> None:
    Function.objects.create(id="broken", problem="its label 'car' has no type", state="ready")
    page = client_for(alice).get("/functions").content.decode()
    assert "its label &#x27;car&#x27; has no type" in page


@pytest.mark.parametrize(
    ("path", "read", "posted"),
    [
        ("/tasks/{task}", 403, 405),
        ("/tasks/{task}/frames/0", 403, 405),
        ("/requests/{request}", 404, 404),
        ("/tasks/99999", 404, 405),
    ],
)
def test_pages_of_another_user_are_refused(
    client_for: ClientFor,
    charlie: User,
    task: models.Task,
    request_row: Request,
    path: str,
    read: int,
    posted: int,
) -> None:
    address = path.format(task=task.pk, request=request_row.pk)
    assert client_for(charlie).get(address).status_code == read
    assert client_for(charlie).post(address, {"action": "undo"}).status_code == posted


@pytest.mark.parametrize("path", ["/", "/functions", "/tasks/1", "/requests/x"])
@pytest.mark.django_db
def test_pages_without_a_login_redirect_to_the_login_page(client_for: ClientFor, path: str) -> None:
    answer = client_for(None).get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login?next=")


@pytest.mark.django_db
@pytest.mark.django_db
def test_metrics_are_refused_from_loopback_without_a_token(client_for: ClientFor) -> None:
    """With a local reverse proxy, every client has a loopback address."""
    assert client_for(None).get("/metrics", REMOTE_ADDR="127.0.0.1").status_code == 404


@pytest.mark.django_db
def test_metrics_are_answered_with_the_metrics_token_only(
    settings: Settings, client_for: ClientFor
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_METRICS_TOKEN = "scrape"
    client = client_for(None)
    answer = client.get("/metrics", HTTP_AUTHORIZATION="Bearer scrape", REMOTE_ADDR="192.0.2.1")
    assert b"cvat_lambda_frames_total" in answer.content
    wrong = client.get("/metrics", HTTP_AUTHORIZATION="Bearer other", REMOTE_ADDR="192.0.2.1")
    assert wrong.status_code == 401


@pytest.mark.django_db
def test_metrics_are_answered_with_the_token_of_an_administrator(client: Client) -> None:
    from cvat_lambda.engine.standalone.models import AccessToken

    root = User.objects.create_superuser("root", "root@example.com", "root-secret")
    client.defaults["HTTP_AUTHORIZATION"] = f"Token {AccessToken.create_login_key(root)[1]}"
    accepted = "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"
    answer = client.get("/metrics", REMOTE_ADDR="192.0.2.1", HTTP_ACCEPT=accepted)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    accepted = "application/openmetrics-text"  # content negotiation would refuse it
    answer = client.get("/metrics", REMOTE_ADDR="192.0.2.1", HTTP_ACCEPT=accepted)
    assert answer.status_code == 200


def test_errors_have_pages_of_their_own(client_for: ClientFor, alice: User) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(alice)
    missing = client.get("/nothing")
    assert (missing.status_code, "<h1>Not found</h1>" in missing.content.decode()) == (404, True)
    forged = client.post("/functions")
    assert (forged.status_code, "Your session has changed" in forged.content.decode()) == (
        403,
        True,
    )


def test_page_of_an_unexpected_error_needs_no_database() -> None:
    answer = server_error(RequestFactory().get("/"))
    assert (answer.status_code, "The server has a problem" in answer.content.decode()) == (
        500,
        True,
    )


def test_functions_page_shows_a_page_of_many_functions_and_finds_the_others(
    client_for: ClientFor, alice: User
) -> None:
    Function.objects.bulk_create(
        Function(id=f"function-{number:04d}", kind="detector", name=f"Detector {number}")
        for number in range(1050)
    )
    client = client_for(alice)
    first = client.get("/functions").content.decode()
    assert first.count("<code>function-") == 100
    assert "page 1 of 10; use the filters to find more" in first
    found = client.get("/functions", {"search": "Detector 1049"}).content.decode()
    assert found.count("<code>function-") == 1
    nothing = client.get("/functions", {"search": "segmenter"}).content.decode()
    assert "No function has “segmenter” in its name or id." in nothing


def test_function_page_shows_the_calls_a_minute_of_the_last_hour(
    client_for: ClientFor,
    alice: User,
    task: models.Task,
    function: FunctionServer,
    clean_redis: str,
) -> None:
    row = store_function(function.url)
    client = client_for(alice)
    shown = "<dt>Calls a minute (last hour)</dt><dd>{}</dd>"
    assert shown.format("0.0") in client.get(f"/functions/{row.pk}").content.decode()
    body = {"task": task.pk, "frame": 0, "mapping": {"car": {"name": "person"}}}
    for _ in range(6):
        path = f"/api/lambda/functions/{row.pk}"
        assert client.post(path, body, content_type="application/json").status_code == 200
    assert shown.format("0.1") in client.get(f"/functions/{row.pk}").content.decode()


def test_function_page_counts_frames_of_the_last_hour_without_their_outcomes(
    client_for: ClientFor, alice: User, function: FunctionServer
) -> None:
    """A request that began in the last hour has the numbers of its frames."""
    row = store_function(function.url)
    now = datetime.now(timezone.utc)
    made = Request.objects.create(
        function_id=row.pk,
        owner=alice,
        status="finished",
        done=90,
        failed=30,
        started_at=now - timedelta(minutes=30),
        ended_at=now,
    )
    older = Request.objects.create(
        function_id=row.pk, owner=alice, status="started", started_at=now - timedelta(hours=3)
    )
    for at, request in enumerate((made, older)):
        shard = Shard.objects.create(
            request=request, index=at, task_id=1, frames=[[0, 9]], first_frame=0, last_frame=9
        )
        for frame, minutes in enumerate((5, 90)):
            Outcome.objects.create(
                request=request,
                shard=shard,
                task_id=1,
                frame=frame,
                status="done",
                written_at=now - timedelta(minutes=minutes),
            )
    assert figures_of(row.pk).frames == 90 + 30 + 1
    assert figures_of(row.pk).failed == 30


def test_function_page_counts_only_the_last_run_of_a_request_that_was_resumed_after_hours(
    alice: User, function: FunctionServer
) -> None:
    """Its failed frames of hours ago were counted as failures of the last hour."""
    row = store_function(function.url)
    now = datetime.now(timezone.utc)
    resumed = Request.objects.create(
        function_id=row.pk,
        owner=alice,
        status="finished",
        done=2,
        done_before=1,
        failed=1,
        created_at=now - timedelta(hours=3),
        started_at=now - timedelta(minutes=10),
        ended_at=now,
    )
    shard = Shard.objects.create(
        request=resumed, index=0, task_id=1, frames=[[0, 2]], first_frame=0, last_frame=2
    )
    for frame, (status, minutes) in enumerate((("done", 150), ("failed", 150), ("done", 5))):
        Outcome.objects.create(
            request=resumed,
            shard=shard,
            task_id=1,
            frame=frame,
            status=status,
            written_at=now - timedelta(minutes=minutes),
        )
    assert (figures_of(row.pk).frames, figures_of(row.pk).failed) == (1, 0)


def test_request_page_takes_the_number_of_many_annotations_from_the_request(
    client_for: ClientFor,
    alice: User,
    request_row: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_rows, "COUNTED", 2)
    Request.objects.filter(pk=request_row.pk).update(shapes=3000)
    Provenance.objects.bulk_create(
        Provenance(request=request_row, task_id=1, frame=0, kind="shape", object_id=number)
        for number in range(5)
    )
    with CaptureQueriesContext(connection) as queries:
        page = client_for(alice).get(f"/requests/{request_row.pk}").content.decode()
    assert "Undo: remove 3,000 annotations</button>" in page
    (sql,) = [
        query["sql"] for query in queries if '"cvat_lambda_provenance"."kind"' in query["sql"]
    ]
    assert "LIMIT 3" in sql
