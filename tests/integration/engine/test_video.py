"""Tasks of videos: frames in order, single frames, and videos that cannot be decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from cvat_lambda.engine.port import Frame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.adapter import StandaloneEngine
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.engine.standalone.media.ingest import Ingestion, Selection
from cvat_lambda.engine.standalone.tasks import add_frames, create_task
from cvat_lambda.errors import EngineUnavailable, FrameOutOfScope, InvalidRequest
from cvat_lambda.images.encode import bmp_bytes
from tests.integration.engine.videos import make_video, number_of

FORMATS = [
    ("mp4", "libx264"),  # frames refer to later frames; the container has timestamps
    ("mkv", "libx264"),
    ("avi", "mpeg4"),  # the container has an index
    ("mov", "mjpeg"),  # every frame is a key frame
]


@pytest.fixture(params=FORMATS, ids=lambda item: "-".join(item))
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    suffix, codec = request.param
    size = (64, 48)
    return make_video(tmp_path / f"video.{suffix}", codec=codec, size=size)


def numbers(frames: object) -> list[tuple[int, int]]:
    return [
        (frame.number, number_of(frame.data))
        for frame in frames  # type: ignore[attr-defined]
        if isinstance(frame, Frame)
    ]


def test_all_frames_of_a_video_are_read_in_order(alice: User, video: Path) -> None:
    task = create_task(alice, "video", ["car"], [video])
    assert task.data.size == 30
    found = numbers(StandaloneEngine().frames(task.pk, range(30)))
    assert found == [(number, number) for number in range(30)]


def test_selected_near_and_far_frames_are_the_right_ones(alice: User, video: Path) -> None:
    task = create_task(alice, "video", [], [video])
    wanted = [0, 3, 4, 9, 10, 11, 19, 28, 29]
    found = numbers(StandaloneEngine().frames(task.pk, wanted))
    assert found == [(number, number) for number in wanted]


@pytest.mark.parametrize(("missing_bytes", "mime"), [(0, "image/bmp"), (1, "image/png")])
def test_frames_are_bmp_files_if_these_fit(
    alice: User, video: Path, missing_bytes: int, mime: str
) -> None:
    task = create_task(alice, "video", [], [video])
    most = bmp_bytes(64, 48) - missing_bytes
    frames = list(StandaloneEngine().frames(task.pk, range(3), max_bmp_bytes=most))
    assert numbers(frames) == [(0, 0), (1, 1), (2, 2)]
    assert [frame.mime for frame in frames if isinstance(frame, Frame)] == [mime] * 3


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 25, 29])
def test_single_frame_is_the_right_one(alice: User, video: Path, number: int) -> None:
    task = create_task(alice, "video", [], [video])
    frame = StandaloneEngine().frame(task.pk, number)
    assert (frame.number, number_of(frame.data), frame.mime) == (number, number, "image/png")
    assert (frame.width, frame.height) == (64, 48)


def test_frames_of_a_step_and_range_have_relative_numbers(alice: User, video: Path) -> None:
    how = Ingestion(selection=Selection(start_frame=4, stop_frame=20, step=5))
    task = create_task(alice, "video", [], [video], ingestion=how)
    engine = StandaloneEngine()
    assert numbers(engine.frames(task.pk, range(4))) == [(0, 4), (1, 9), (2, 14), (3, 19)]
    assert number_of(engine.frame(task.pk, 2).data) == 14
    with pytest.raises(FrameOutOfScope):
        engine.frame(task.pk, 4)


def test_frame_key_differs_between_frames_and_between_videos(alice: User, tmp_path: Path) -> None:
    first = create_task(alice, "a", [], [make_video(tmp_path / "a.mp4", frames=8)])
    same = create_task(alice, "b", [], [make_video(tmp_path / "b.mp4", frames=8)])
    other = create_task(alice, "c", [], [make_video(tmp_path / "c.mp4", frames=9)])
    key = StandaloneEngine().frame_key
    assert key(first.pk, 3) == key(same.pk, 3)
    assert len({key(first.pk, 3), key(first.pk, 4), key(other.pk, 3)}) == 3


@pytest.mark.parametrize("content", [b"", b"no video", b"\x00\x00\x00\x18ftypmp42"])
def test_broken_video_is_named_and_leaves_no_rows_and_files(
    alice: User, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "broken.mp4").write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"broken\.mp4"):
        create_task(alice, "video", [], [tmp_path / "broken.mp4"])
    assert not models.Task.objects.exists()
    assert not any(storage.data_root().iterdir())


def test_task_of_a_video_and_images_is_refused(alice: User, tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", frames=3)
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    with pytest.raises(InvalidRequest, match="not both"):
        create_task(alice, "mixed", [], [video, tmp_path / "image.png"])


def test_missing_video_file_raises_engine_unavailable(alice: User, tmp_path: Path) -> None:
    task = create_task(alice, "video", [], [make_video(tmp_path / "video.mp4", frames=3)])
    (storage.data_folder(task.data.folder) / task.data.video.path).unlink()
    with pytest.raises(EngineUnavailable):
        StandaloneEngine().frame(task.pk, 0)
    with pytest.raises(EngineUnavailable):
        list(StandaloneEngine().frames(task.pk, range(3)))


def test_reading_stops_when_the_iterator_is_closed(alice: User, tmp_path: Path) -> None:
    task = create_task(alice, "video", [], [make_video(tmp_path / "video.mp4", frames=12)])
    frames = StandaloneEngine().frames(task.pk, range(12))
    assert number_of(next(frames).data) == 0  # type: ignore[union-attr]
    frames.close()  # type: ignore[attr-defined]
    assert list(frames) == []


def test_segments_of_a_video_task_overlap_by_five_frames_as_in_cvat(
    alice: User, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "video.mp4", frames=30)
    task = create_task(alice, "video", [], [video], segment_size=12)
    assert task.overlap == 5
    ranges = [(segment.start_frame, segment.stop_frame) for segment in task.segments.all()]
    assert ranges == [(0, 11), (7, 18), (14, 25), (21, 29)]
    small = create_task(alice, "small", [], [video], segment_size=4)
    assert small.overlap == 2
    without = create_task(alice, "without", [], [video], segment_size=12, overlap=0)
    assert without.overlap == 0


def test_a_video_with_large_frames_is_refused_before_it_is_decoded(
    settings: Settings, alice: User, tmp_path: Path
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_VIDEO_PIXELS = 100
    video = make_video(tmp_path / "video.mp4", frames=3)
    with pytest.raises(InvalidRequest, match="takes videos of 100 pixels a frame at most"):
        create_task(alice, "video", [], [video])


def test_truncated_video_has_a_note_with_the_number_of_lost_frames(
    alice: User, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "video.avi", codec="mjpeg", frames=30)
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 6 // 10])
    task = create_task(alice, "empty", [])
    added = add_frames(task, [SourceFile(path=video, name="video.avi")])
    lost = 30 - added.data.size
    assert lost > 0
    assert added.note.startswith(f"{lost} frames of the video could not be decoded")
