"""Media in an object store that several hosts share."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from PIL import Image
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.adapter import StandaloneEngine
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.staging import Staging
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.errors import EngineUnavailable
from tests.integration.engine.videos import make_video, number_of
from tests.object_store import CREDENTIALS, ObjectStore, object_store
from tests.ports import free_port

COUNT = 4  # more than the CONNECTIONS of a test, so that files wait for a connection


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """The server of the buckets."""
    with object_store(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture
def store(server: ObjectStore, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A bucket that the engine uses for media."""
    bucket = server.other_bucket(f"media-{uuid.uuid4().hex}")
    use(bucket, settings, monkeypatch)
    return bucket


def missing(store: ObjectStore) -> ObjectStore:
    """Return a bucket at an address where nothing listens."""
    return replace(store, url=f"http://127.0.0.1:{free_port()}")


def use(store: ObjectStore, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine use a bucket for media."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    options = {"bucket_name": store.bucket, "endpoint_url": store.url, "region_name": "us-east-1"}
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, storage.ALIAS: backend}
    monkeypatch.setattr(storage, "CONNECTIONS", 2)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Image files whose colours tell their numbers."""
    paths = [tmp_path / f"{number:03d}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(path)
    return paths


def move_to_another_host(settings: Settings, tmp_path: Path) -> None:
    """Go on with an empty media folder, as another host has it."""
    settings.MEDIA_ROOT = tmp_path / "another-host"


def red_values(frames: Iterator[Frame | UnreadableFrame]) -> list[object]:
    """Return the red value of the first pixel of each frame."""
    return [
        Image.open(io.BytesIO(frame.data)).getpixel((0, 0))[0]  # type: ignore[index]
        for frame in frames
        if isinstance(frame, Frame)
    ]


def test_images_are_read_on_a_host_that_did_not_receive_them(
    alice: User, store: ObjectStore, pictures: list[Path], settings: Settings, tmp_path: Path
) -> None:
    task = create_task(alice, "images", [], pictures)
    assert len(store.keys()) == COUNT
    move_to_another_host(settings, tmp_path)
    assert red_values(StandaloneEngine().frames(task.pk, range(COUNT))) == list(range(COUNT))


def test_video_is_read_on_a_host_that_did_not_receive_it(
    alice: User, store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    task = create_task(alice, "video", [], [make_video(tmp_path / "video.mp4")])
    move_to_another_host(settings, tmp_path)
    frames = list(StandaloneEngine().frames(task.pk, [3, 12, 29]))
    assert [number_of(frame.data) for frame in frames if isinstance(frame, Frame)] == [3, 12, 29]


def test_publishing_leaves_no_copy_in_the_media_folder(
    alice: User, store: ObjectStore, pictures: list[Path]
) -> None:
    create_task(alice, "images", [], pictures)
    assert storage.subfolders(storage.data_root()) == []


def test_deleting_a_task_deletes_its_objects_and_its_cached_files(
    alice: User,
    store: ObjectStore,
    pictures: list[Path],
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    task = create_task(alice, "images", [], pictures)
    StandaloneEngine().frame(task.pk, 0)
    with django_capture_on_commit_callbacks(execute=True):
        task.delete()
    assert store.keys() == []
    assert list(Path(settings.MEDIA_ROOT).rglob("*.png")) == []


def test_missing_object_is_an_unreadable_frame(
    alice: User, store: ObjectStore, pictures: list[Path]
) -> None:
    task = create_task(alice, "images", [], pictures)
    store.client().delete_object(Bucket=store.bucket, Key=store.keys()[2])
    frames = list(StandaloneEngine().frames(task.pk, range(4)))
    assert [isinstance(frame, UnreadableFrame) for frame in frames] == [False, False, True, False]


def test_store_that_does_not_answer_is_a_temporary_error_and_cached_frames_are_read(
    alice: User,
    pictures: list[Path],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The store stops while the engine has an open connection to it."""
    with object_store(tmp_path) as own:
        use(own, settings, monkeypatch)
        task = create_task(alice, "images", [], pictures)
        StandaloneEngine().frame(task.pk, 1)
        own.process.stop()
        assert StandaloneEngine().frame(task.pk, 1).number == 1
        with pytest.raises(EngineUnavailable, match="storage of this task's frames"):
            StandaloneEngine().frame(task.pk, 3)


def test_upload_while_the_store_does_not_answer_leaves_nothing_behind(
    alice: User,
    server: ObjectStore,
    pictures: list[Path],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(missing(server), settings, monkeypatch)
    with pytest.raises(EngineUnavailable):
        create_task(alice, "images", [], pictures)
    assert not models.Data.objects.exists()
    assert storage.subfolders(storage.data_root()) == []


def test_cache_keeps_the_files_that_were_used_last_within_its_limit(
    alice: User, store: ObjectStore, tmp_path: Path, settings: Settings
) -> None:
    paths = [tmp_path / f"{number:03d}.bmp" for number in range(8)]
    for path in paths:
        Image.new("RGB", (100, 100)).save(path)
    size = paths[0].stat().st_size
    settings.CVAT_LAMBDA_STANDALONE_MEDIA_CACHE_BYTES = 5 * size
    task = create_task(alice, "images", [], paths)
    for number in range(len(paths)):
        StandaloneEngine().frame(task.pk, number)
    cached = list(Path(settings.MEDIA_ROOT).rglob("*.bmp"))
    assert 0 < len(cached) <= 6
    assert "000007.bmp" in {path.name for path in cached}


def test_collect_media_deletes_objects_without_a_task(
    alice: User, store: ObjectStore, pictures: list[Path]
) -> None:
    task = create_task(alice, "images", [], pictures[:2])
    store.client().put_object(Bucket=store.bucket, Key="engine/data/lost/original/1.png", Body=b"")
    call_command("collect_media", "--hours", "1")
    assert len(store.keys()) == 3
    assert timezone.now() - storage.stored_folders([task.data.folder])[0][1] < timedelta(hours=1)
    call_command("collect_media", "--hours", "0")
    assert len(store.keys()) == 2


def test_upload_in_parts_continues_on_another_host(
    store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 10
    first = Staging(7)
    key = first.begin("a.png", len(content))
    first.append(key, 0, io.BytesIO(content[:1000]), 1000)
    first.append(key, 1000, io.BytesIO(content[1000:1500]), 500)
    first.add("b.png", [b"whole"])
    move_to_another_host(settings, tmp_path)
    second = Staging(7)
    assert second.progress(key) == (1500, len(content))
    second.append(key, 1500, io.BytesIO(content[1500:]), len(content) - 1500)
    found = {file.name: file.path.read_bytes() for file in Staging(7).files()}
    assert found == {"a.png": content, "b.png": b"whole"}


def test_host_continues_an_upload_that_another_host_continued_meanwhile(
    store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    here = settings.MEDIA_ROOT
    key = Staging(7).begin("a.png", 30)
    Staging(7).append(key, 0, io.BytesIO(b"0" * 10), 10)
    move_to_another_host(settings, tmp_path)
    Staging(7).append(key, 10, io.BytesIO(b"1" * 10), 10)
    settings.MEDIA_ROOT = here
    assert Staging(7).progress(key) == (20, 30)
    Staging(7).append(key, 20, io.BytesIO(b"2" * 10), 10)
    (file,) = Staging(7).files()
    assert file.path.read_bytes() == b"0" * 10 + b"1" * 10 + b"2" * 10


def test_upload_that_another_host_finished_is_forgotten(
    store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    here = settings.MEDIA_ROOT
    Staging(7).add("a.png", [b"content"])
    move_to_another_host(settings, tmp_path)
    assert len(Staging(7).files()) == 1
    Staging(7).clear()
    assert store.keys() == []
    settings.MEDIA_ROOT = here
    assert Staging(7).files() == []


def test_upload_without_the_object_store_is_refused_as_unavailable(
    server: ObjectStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(missing(server), settings, monkeypatch)
    with pytest.raises(EngineUnavailable):
        Staging(7).begin("a.png", 20)


def test_unfinished_uploads_are_deleted_from_the_object_store_when_they_are_old(
    alice: User, store: ObjectStore
) -> None:
    Staging(7).add("a.png", [b"content"])
    call_command("collect_media")
    assert len(store.keys()) == 2
    call_command("collect_media", hours=-1.0)
    assert store.keys() == []


def test_uploads_of_a_deleted_task_are_deleted_from_the_object_store(
    alice: User,
    store: ObjectStore,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    task = models.Task.objects.create(owner=alice, name="empty")
    Staging(task.pk).add("a.png", [b"content"])
    with django_capture_on_commit_callbacks(execute=True):
        task.delete()
    assert store.keys() == []
