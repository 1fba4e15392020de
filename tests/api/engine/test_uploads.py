"""``POST /api/tasks/ID/data``: every way to upload files, and refused uploads."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from cvat_lambda.engine.standalone import models, uploads
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.staging import Staging
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.errors import InvalidRequest, StateConflict
from tests.http_server import files_of, http_server
from tests.integration.engine.videos import make_video


@pytest.fixture
def client(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


@pytest.fixture
def empty(alice: User) -> models.Task:
    return create_task(alice, "empty", ["car"])


def as_upload(path: Path) -> SimpleUploadedFile:
    return SimpleUploadedFile(path.name, path.read_bytes())


def status_of(client: Client, response: Any) -> tuple[str, str]:
    assert response.status_code == 202, response.content
    found = client.get(f"/api/requests/{response.json()['rq_id']}").json()
    return found["status"], found["message"]


def test_upload_in_one_request_becomes_frames(
    client: Client, empty: models.Task, pictures: list[Path]
) -> None:
    files = {f"client_files[{place}]": as_upload(path) for place, path in enumerate(pictures)}
    response = client.post(f"/api/tasks/{empty.pk}/data", {"image_quality": 80, **files})
    assert status_of(client, response) == ("finished", "")
    meta = client.get(f"/api/tasks/{empty.pk}/data/meta").json()
    assert [frame["name"] for frame in meta["frames"]] == [path.name for path in pictures]
    assert (meta["size"], meta["image_quality"]) == (6, 80)
    again = client.post(f"/api/tasks/{empty.pk}/data", {"image_quality": 80})
    assert again.status_code == 409


def test_task_without_files_has_no_member_data(
    client: Client, empty: models.Task, pictures: list[Path]
) -> None:
    assert "data" not in client.get(f"/api/tasks/{empty.pk}").json()  # cvat-sdk 2.54 takes no null
    client.post(f"/api/tasks/{empty.pk}/data", {"client_files[0]": as_upload(pictures[0])})
    empty.refresh_from_db()
    assert client.get(f"/api/tasks/{empty.pk}").json()["data"] == empty.data.pk


@pytest.mark.django_db(transaction=True)  # another thread creates the frames
@pytest.mark.parametrize("in_pieces", [False, True])
def test_uploaded_video_becomes_frames(
    client: Client, empty: models.Task, tmp_path: Path, in_pieces: bool
) -> None:
    video = make_video(tmp_path / "Crossing.MP4", frames=5)
    address = f"/api/tasks/{empty.pk}/data"
    if in_pieces:
        content = video.read_bytes()
        name = base64.b64encode(video.name.encode()).decode()
        begin = {"Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
        place = client.post(address, headers=begin)["Location"]
        kind = "application/offset+octet-stream"
        client.patch(place, content, kind, headers={"Upload-Offset": "0"})
        files, headers = {}, {"Upload-Finish": ""}
    else:
        files, headers = {"client_files": as_upload(video)}, {}
    response = client.post(address, {"image_quality": 70, **files}, headers=headers)
    uploads.wait()
    assert status_of(client, response) == ("finished", "")
    meta = client.get(f"{address}/meta").json()
    assert (meta["size"], len(meta["frames"])) == (5, 5)
    assert client.get(f"/api/tasks/{empty.pk}").json()["mode"] == "interpolation"


def test_upload_of_several_files_under_one_form_name_keeps_all(
    client: Client, empty: models.Task, pictures: list[Path]
) -> None:
    """``curl -F client_files=@a -F client_files=@b`` sends such a form."""
    files = {"client_files": [as_upload(path) for path in pictures[:3]]}
    response = client.post(f"/api/tasks/{empty.pk}/data", files)
    assert status_of(client, response) == ("finished", "")
    meta = client.get(f"/api/tasks/{empty.pk}/data/meta").json()
    assert [frame["name"] for frame in meta["frames"]] == [path.name for path in pictures[:3]]


@pytest.mark.parametrize("at_once", [True, False])
def test_upload_of_two_files_of_one_name_is_refused(
    client: Client, empty: models.Task, pictures: list[Path], at_once: bool
) -> None:
    """Clients send no folders: they send ``one/a.png`` and ``two/a.png`` both as ``a.png``."""
    path = f"/api/tasks/{empty.pk}/data/"
    files = [SimpleUploadedFile("a.png", picture.read_bytes()) for picture in pictures[:2]]
    if at_once:
        refused = client.post(path, {f"client_files[{i}]": file for i, file in enumerate(files)})
        assert refused.status_code == 400
        message = refused.json()["message"]
    else:
        for file in files:
            sent = client.post(path, {"client_files[0]": file}, headers={"Upload-Multiple": ""})
            assert sent.status_code == 200
        done = client.post(path, {}, "application/json", headers={"Upload-Finish": ""})
        status, message = status_of(client, done)
        assert status == "failed"
    assert message == "file 'a.png' occurs twice; names must be unique"
    assert not models.Data.objects.exists()


def test_finish_of_an_incomplete_upload_answers_400(
    client: Client, empty: models.Task, pictures: list[Path]
) -> None:
    path = f"/api/tasks/{empty.pk}/data/"
    whole = client.post(
        path, {"client_files[0]": as_upload(pictures[1])}, headers={"Upload-Multiple": ""}
    )
    assert whole.status_code == 200
    content = pictures[0].read_bytes()
    begin = {"Upload-Length": str(len(content)), "Upload-Metadata": "filename MC5wbmc="}  # 0.png
    places = [client.post(path, headers=begin).headers["Location"] for _ in range(2)]
    kind = "application/offset+octet-stream"
    first = client.patch(places[0], content[:9], kind, headers={"Upload-Offset": "0"})
    assert first.status_code == 204

    def finish() -> Any:
        return client.post(path, {}, "application/json", headers={"Upload-Finish": ""})

    early = finish()
    assert early.status_code == 400
    assert early.json()["message"].startswith("file '0.png' is incomplete: ")
    client.patch(places[1], content, kind, headers={"Upload-Offset": "0"})
    assert status_of(client, finish()) == ("finished", "")  # the abandoned upload is ignored
    assert models.Image.objects.count() == 2


def test_broken_file_fails_with_its_name_and_leaves_nothing(
    client: Client, empty: models.Task
) -> None:
    files = {"client_files[0]": SimpleUploadedFile("bad.png", b"no image")}
    response = client.post(f"/api/tasks/{empty.pk}/data", files)
    status, message = status_of(client, response)
    assert (status, message) == ("failed", "file 'bad.png' cannot be read as an image")
    assert not models.Data.objects.exists()
    assert Staging(empty.pk).files() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_quality": 101},
        {"sorting_method": "by mood"},
        {"frame_filter": "step=0"},
        {"start_frame": 3, "stop_frame": 2},
        {"chunk_size": 0},
        {"cloud_storage_id": 1},
        {"remote_files": ["http://127.0.0.1/x.png"]},  # off by default
        {"server_files": ["x.png"]},  # no shared folder
    ],
)
def test_invalid_parameters_are_refused_and_nothing_is_stored(
    client: Client, empty: models.Task, wrong: dict[str, Any]
) -> None:
    path = f"/api/tasks/{empty.pk}/data"
    assert client.post(path, wrong, content_type="application/json").status_code == 400
    assert not models.DataRequest.objects.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Length": "x", "Upload-Metadata": "filename YQ=="},
        {"Upload-Length": "9" * 5000, "Upload-Metadata": "filename YQ=="},
        {"Upload-Length": "3"},
        {"Upload-Length": "3", "Upload-Metadata": "filename ###"},
        {"Upload-Length": "3", "Upload-Metadata": "filename Li4="},  # ".."
    ],
)
def test_invalid_headers_of_a_resumable_upload_are_refused(
    client: Client, empty: models.Task, headers: dict[str, str]
) -> None:
    assert client.post(f"/api/tasks/{empty.pk}/data", headers=headers).status_code == 400


def test_files_outside_the_shared_folder_are_refused(
    client: Client, empty: models.Task, pictures: list[Path], settings: Settings, tmp_path: Path
) -> None:
    share = tmp_path / "share"
    (share / "inner").mkdir(parents=True)
    pictures[0].rename(share / "inner" / "a.png")
    (share / "out.png").symlink_to(pictures[1])
    settings.CVAT_LAMBDA_STANDALONE_SHARE_ROOT = str(share)
    path = f"/api/tasks/{empty.pk}/data"
    for name in ("../1.png", str(pictures[1]), "out.png", "missing.png"):
        refused = client.post(path, {"server_files": [name]}, content_type="application/json")
        assert refused.status_code == 400
    request = uploads.start(empty, None, parameters(server_files=["inner"]))
    uploads.run(request.pk)
    (image,) = models.Image.objects.all()
    assert image.name == "inner/a.png"
    assert (share / "inner" / "a.png").exists()


def parameters(**more: Any) -> dict[str, Any]:
    return {
        "image_quality": 70,
        "sorting_method": "lexicographical",
        "frame_filter": "",
        "start_frame": 0,
        "upload_file_order": [],
        "server_files": [],
        "remote_files": [],
        **more,
    }


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL of a web server that serves the folder ``web``."""
    folder = tmp_path / "web"
    folder.mkdir()
    with http_server(files_of(folder)) as server:
        yield server.url


def test_remote_files_are_fetched_from_allowed_hosts_only(
    empty: models.Task, pictures: list[Path], settings: Settings, tmp_path: Path, web: str
) -> None:
    pictures[0].rename(tmp_path / "web" / "far.png")
    settings.CVAT_LAMBDA_STANDALONE_REMOTE_FILES = True
    settings.CVAT_LAMBDA_STANDALONE_REMOTE_FILES_ALLOWED_HOSTS = ("example.org", "*.example.net")
    for url in (f"{web}/far.png", "ftp://example.org/a", "http://a@example.org/a", "http://[/"):
        with pytest.raises(InvalidRequest):
            uploads.start(empty, None, parameters(remote_files=[url]))
    settings.CVAT_LAMBDA_STANDALONE_REMOTE_FILES_ALLOWED_HOSTS = ("127.0.0.0/8",)
    request = models.DataRequest.objects.create(
        task=empty, parameters=parameters(remote_files=[f"{web}/far.png"])
    )
    uploads.run(request.pk)
    request.refresh_from_db()
    assert (request.status, request.message) == ("finished", "")
    assert models.Image.objects.get().name == "far.png"


def test_remote_file_that_is_missing_fails_the_request(
    empty: models.Task, settings: Settings, web: str
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_REMOTE_FILES = True
    settings.CVAT_LAMBDA_STANDALONE_REMOTE_FILES_ALLOWED_HOSTS = ("127.0.0.1",)
    request = models.DataRequest.objects.create(
        task=empty, parameters=parameters(remote_files=[f"{web}/none.png"])
    )
    uploads.run(request.pk)
    request.refresh_from_db()
    assert request.status == "failed"
    assert "answered 404" in request.message


@pytest.mark.django_db(transaction=True)
def test_large_upload_is_unpacked_after_the_answer(
    client: Client, empty: models.Task, pictures: list[Path], settings: Settings
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_INLINE_UPLOAD_BYTES = 0
    response = client.post(
        f"/api/tasks/{empty.pk}/data", {"client_files[0]": as_upload(pictures[0])}
    )
    uploads.wait()
    assert status_of(client, response) == ("finished", "")
    assert models.Image.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_second_finish_of_an_upload_answers_409(empty: models.Task, pictures: list[Path]) -> None:
    Staging(empty.pk).add("a.png", [pictures[0].read_bytes()])
    together = threading.Barrier(4)
    results: list[str] = []

    def finish() -> None:
        try:
            together.wait(180)
            results.append(uploads.start(empty, None, parameters()).status)
        except StateConflict:
            results.append("conflict")
        finally:
            connection.close()

    threads = [threading.Thread(target=finish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["conflict", "conflict", "conflict", "finished"]
    assert models.DataRequest.objects.count() == 1


def test_upload_of_a_dead_process_is_continued_once_it_is_stalled(
    empty: models.Task, pictures: list[Path], settings: Settings
) -> None:
    Staging(empty.pk).add("a.png", [pictures[0].read_bytes()])
    request = models.DataRequest.objects.create(
        task=empty, parameters=parameters(), status="started", seen_at=empty.created_at
    )
    settings.CVAT_LAMBDA_STANDALONE_UPLOAD_STALLED_AFTER_S = 3600
    uploads.run(request.pk)  # not stalled yet
    assert not models.Data.objects.exists()
    settings.CVAT_LAMBDA_STANDALONE_UPLOAD_STALLED_AFTER_S = 0
    uploads.run(request.pk)
    request.refresh_from_db()
    assert request.status == "finished"
    assert models.Image.objects.count() == 1


def begin(client: Client, task: models.Task, name: str, length: int) -> int:
    """Announce a resumable upload; return the status."""
    encoded = base64.b64encode(name.encode()).decode()
    headers = {"Upload-Length": str(length), "Upload-Metadata": f"filename {encoded}"}
    return client.post(f"/api/tasks/{task.pk}/data", headers=headers).status_code


def test_announced_sizes_count_against_the_limit(
    settings: Settings, client: Client, empty: models.Task
) -> None:
    """The server counted received bytes only, so ten uploads of 9 bytes passed a limit of 10."""
    settings.CVAT_LAMBDA_STANDALONE_MAX_UPLOAD_BYTES = 10
    assert [begin(client, empty, f"{n}.png", 9) for n in range(3)] == [201, 413, 413]
    assert begin(client, empty, "small.png", 1) == 201


def test_quota_of_an_owner_counts_all_their_tasks(
    settings: Settings, client: Client, alice: User, empty: models.Task, pictures: list[Path]
) -> None:
    other = create_task(alice, "other", [], pictures[:1])
    used = sum(path.stat().st_size for path in pictures[:1])
    assert other.data.size_bytes == used
    settings.CVAT_LAMBDA_STANDALONE_USER_QUOTA_BYTES = used + 100
    assert begin(client, empty, "large.png", 101) == 413
    assert begin(client, empty, "small.png", 60) == 201
    assert begin(client, empty, "more.png", 60) == 413


def test_an_upload_is_refused_while_the_disk_is_full(
    settings: Settings, client: Client, empty: models.Task, pictures: list[Path]
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MIN_FREE_DISK_BYTES = 2**62
    assert begin(client, empty, "a.png", 1) == 507
    form = {"client_files": as_upload(pictures[0])}
    refused = client.post(f"/api/tasks/{empty.pk}/data", form)
    assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")


def test_old_media_without_a_task_are_deleted(alice: User, pictures: list[Path]) -> None:
    kept = create_task(alice, "kept", [], pictures[:1])
    orphan = storage.data_folder(storage.new_folder())
    young = storage.data_folder(storage.new_folder())
    staged = storage.upload_folder(kept.pk)
    staged.mkdir(parents=True)
    week_ago = time.time() - 7 * 24 * 3600
    for path in (orphan, *orphan.rglob("*"), staged):
        os.utime(path, (week_ago, week_ago))
    printed = StringIO()
    call_command("collect_media", stdout=printed)
    assert "Deleted 2 folders" in printed.getvalue()
    assert (orphan.exists(), staged.exists(), young.exists()) == (False, False, True)
    assert storage.data_folder(kept.data.folder).exists()
