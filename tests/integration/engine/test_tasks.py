"""Tasks created from files: frames, jobs, and cleanup after an invalid file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from PIL import Image
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from cvat_lambda.annotations.types import LabeledData, Shape, Tag, Track, TrackedShape
from cvat_lambda.engine.port import Change, Frame, Removal, UnreadableFrame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.adapter import StandaloneEngine
from cvat_lambda.engine.standalone.media import reader, storage
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.engine.standalone.media.ingest import Ingestion, Selection
from cvat_lambda.engine.standalone.tasks import (
    create_project,
    create_task,
    delete_project,
    delete_task,
)
from cvat_lambda.errors import FrameOutOfScope, FrameUnreadable, InvalidRequest, TaskNotFound
from tests.rows_read import rows_read


def picture(path: Path, *, size: tuple[int, int] = (32, 24), shade: int = 0, **save: Any) -> Path:
    Image.new("RGB", size, (shade, 128, 255 - shade)).save(path, **save)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [picture(tmp_path / f"{name}.png", shade=20 * name) for name in range(6)]


def test_frames_have_the_bytes_of_the_uploaded_files(alice: User, files: list[Path]) -> None:
    task = create_task(alice, "six", ["car"], files)
    engine = StandaloneEngine()
    frames = list(engine.frames(task.pk, [0, 3, 5]))
    assert [frame.number for frame in frames] == [0, 3, 5]
    for frame in frames:
        assert isinstance(frame, Frame)
        assert frame.data == files[frame.number].read_bytes()
        assert (frame.mime, frame.name) == ("image/png", f"{frame.number}.png")
        assert (frame.width, frame.height) == (32, 24)
        assert engine.frame(task.pk, frame.number) == frame


@pytest.mark.parametrize("at_once", [2, 512])
def test_reading_frames_of_a_deleted_task_raises_task_not_found(
    transactional_db: None,
    alice: User,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    """The error must not be an unavailable storage or a missing frame, even after read-ahead."""
    monkeypatch.setattr(reader, "FACTS_AT_ONCE", at_once)
    task = create_task(alice, "six", ["car"], files)
    frames = StandaloneEngine().frames(task.pk, range(6))
    next(frames)
    next(frames)
    task.delete()
    with pytest.raises(TaskNotFound):
        next(frames)


def test_segments_have_the_given_overlap(alice: User, files: list[Path]) -> None:
    task = create_task(alice, "six", ["car"], files, segment_size=3, overlap=1)
    jobs = StandaloneEngine().task(task.pk).jobs
    assert [list(job.frames) for job in jobs] == [[0, 1, 2], [2, 3, 4], [4, 5]]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["a1.png", "a10.png", "a2.png"]),
        (Selection(sorting_method="natural"), ["a1.png", "a2.png", "a10.png"]),
        (Selection(sorting_method="predefined"), ["a10.png", "a2.png", "a1.png"]),
        (Selection(sorting_method="natural", start_frame=1), ["a2.png", "a10.png"]),
        (Selection(sorting_method="natural", step=2), ["a1.png", "a10.png"]),
        (Selection(sorting_method="natural", stop_frame=0), ["a1.png"]),
    ],
)
def test_selection_orders_and_filters_frames(
    alice: User, tmp_path: Path, selection: Selection, names: list[str]
) -> None:
    files = [picture(tmp_path / name) for name in ("a10.png", "a2.png", "a1.png")]
    task = create_task(alice, "three", [], files, ingestion=Ingestion(selection=selection))
    frames = StandaloneEngine().frames(task.pk, range(len(names)))
    assert [frame.name for frame in frames if isinstance(frame, Frame)] == names


def test_archive_is_unpacked_with_names_of_images_only(alice: User, tmp_path: Path) -> None:
    packed = io.BytesIO()
    Image.new("RGB", (8, 8)).save(packed, format="PNG")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("b/2.png", "b/1.png", "../../evil.png", "__MACOSX/1.png", "readme.txt"):
            archive.writestr(name, packed.getvalue())
    task = create_task(alice, "zip", [], [tmp_path / "all.zip"])
    frames = StandaloneEngine().frames(task.pk, range(3))
    assert [frame.name for frame in frames if isinstance(frame, Frame)] == [
        "b/2.png",
        "b/1.png",
        "evil.png",
    ]


def test_exif_orientation_is_applied_to_size_and_data(alice: User, tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (0, 0, 20, 20))  # left half red
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation 6: rotate by 90 degrees clockwise
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    task = create_task(alice, "turned", [], [tmp_path / "turned.jpg"])
    frame = StandaloneEngine().frame(task.pk, 0)
    assert (frame.width, frame.height) == (20, 40)
    with Image.open(io.BytesIO(frame.data)) as shown:
        assert shown.size == (20, 40)
        assert shown.getexif().get(0x0112, 1) == 1
        red, _, blue = shown.convert("RGB").getpixel((10, 5))  # type: ignore[misc]
    assert red > 200
    assert blue < 60


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_broken_image_is_named_and_leaves_nothing(
    alice: User, files: list[Path], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"broken\.png"):
        create_task(alice, "bad", ["car"], [*files, tmp_path / "broken.png"])
    assert not models.Task.objects.exists()
    assert not any(storage.data_root().iterdir())


def test_truncated_jpeg_is_refused(alice: User, tmp_path: Path) -> None:
    whole = picture(tmp_path / "whole.jpg", size=(640, 480)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest, match=r"half\.jpg"):
        create_task(alice, "half", [], [tmp_path / "half.jpg"])


def test_file_that_is_missing_later_is_one_unreadable_frame(alice: User, files: list[Path]) -> None:
    task = create_task(alice, "six", [], files)
    image = models.Image.objects.get(data__task=task, number=1)
    (storage.data_folder(task.data.folder) / image.path).unlink()
    engine = StandaloneEngine()
    kinds = [type(frame) for frame in engine.frames(task.pk, [0, 1, 2])]
    assert kinds == [Frame, UnreadableFrame, Frame]
    with pytest.raises(FrameUnreadable):
        engine.frame(task.pk, 1)


def test_frame_outside_the_task_is_refused(alice: User, files: list[Path]) -> None:
    task = create_task(alice, "six", [], files)
    with pytest.raises(FrameOutOfScope):
        StandaloneEngine().frame(task.pk, 6)
    with pytest.raises(TaskNotFound):
        StandaloneEngine().frame(task.pk + 1, 0)


def test_files_with_equal_names_are_refused(alice: User, files: list[Path]) -> None:
    twice = [SourceFile(path=file, name="same.png") for file in files[:2]]
    with pytest.raises(InvalidRequest, match="twice"):
        create_task(alice, "twice", [], twice)


def test_delete_task_deletes_its_files(
    alice: User,
    files: list[Path],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    task = create_task(alice, "six", ["car"], files)
    folder = storage.data_folder(task.data.folder)
    assert folder.is_dir()
    with django_capture_on_commit_callbacks(execute=True):
        task.delete()
    assert not folder.exists()


def test_change_of_many_shapes_takes_as_many_queries_as_of_one(
    alice: User, files: list[Path], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    queries = 6 if connection.vendor == "postgresql" else 5  # the ids of new rows are one query
    task = create_task(alice, "six", ["car"], files)
    engine = StandaloneEngine()
    (label,) = engine.task(task.pk).labels
    assert label.id is not None

    def change(count: int) -> Change:
        shape = Shape(type="rectangle", frame=1, label_id=label.id or 0, points=(0, 0, 9, 9))
        return Change(
            task_id=task.pk,
            frames=(1,),
            add=LabeledData(shapes=(shape,) * count),
            remove=Removal(policy="none"),
        )

    for count in (1, 40):
        with django_assert_num_queries(queries):
            engine.apply(change(count))


def test_deletion_of_a_task_reads_none_of_its_annotations(alice: User, files: list[Path]) -> None:
    """All shapes and tracks were read into memory first."""
    project = create_project(alice, "Streets", ["car"])
    tasks = [
        create_task(alice, "own labels", ["car"], files[:2]),
        create_task(alice, "of the project", (), files[:2], project=project),
    ]
    engine = StandaloneEngine()
    for task in tasks:
        label = engine.task(task.pk).labels[0].id or 0
        box = Shape(type="rectangle", frame=0, label_id=label, points=(1, 2, 3, 4))
        key = TrackedShape(type="rectangle", frame=0, points=(1, 2, 3, 4))
        track = Track(frame=0, label_id=label, shapes=(key, key))
        data = LabeledData(shapes=(box, box), tracks=(track,), tags=(Tag(frame=1, label_id=label),))
        with engine.atomic():
            engine.apply(Change(task_id=task.pk, frames=(0, 1), add=data))
    tables: tuple[Any, ...] = (
        models.LabeledShape,
        models.LabeledTag,
        models.LabeledTrack,
        models.TrackedShape,
    )
    with rows_read(*tables) as read:
        delete_task(tasks[0])
        delete_project(project)
    assert dict(read) == {}
    assert [table.objects.count() for table in (*tables, models.Task)] == [0] * 5
