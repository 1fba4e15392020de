"""A run reads and decodes each frame once. CVAT decodes a whole chunk for every frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.images.encode import bmp_bytes
from cvat_lambda.requests.store.tracking import StartDetector, Tracking
from tests.audit_hooks import OBSTACLE, add_hook
from tests.integration.engine.videos import make_video

from .conftest import CAR, MakeTask, Start, run, store_function
from .function_server import FunctionServer, function_server, image_of
from .test_reid import draw
from .test_track import box, follow

_listeners: list[list[Path]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _listeners and isinstance(arguments[0], (str, Path)):
        for heard in _listeners:
            heard.append(Path(arguments[0]))


add_hook(_hear)


@pytest.fixture
def opened() -> Iterator[list[Path]]:
    """The paths of all files that Python opens during the test."""
    if OBSTACLE:
        pytest.skip(OBSTACLE)
    heard: list[Path] = []
    _listeners.append(heard)
    yield heard
    _listeners.remove(heard)


class CountedVideo:
    """Wraps a video of PyAV and counts the decoded frames."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.decoded = 0

    def __enter__(self) -> CountedVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, stream: Any) -> Iterator[Any]:
        for packet in self._container.demux(stream):
            yield CountedPacket(self, packet)


class CountedPacket:
    def __init__(self, video: CountedVideo, packet: Any) -> None:
        self._video = video
        self._packet = packet

    def decode(self) -> list[Any]:
        frames = list(self._packet.decode())
        self._video.decoded += len(frames)
        return frames


@pytest.fixture
def videos(monkeypatch: pytest.MonkeyPatch) -> list[CountedVideo]:
    """All videos that PyAV opens during the test."""
    found: list[CountedVideo] = []
    plain = av.open

    def counted(*args: Any, **kwargs: Any) -> CountedVideo:
        found.append(CountedVideo(plain(*args, **kwargs)))
        return found[-1]

    monkeypatch.setattr(av, "open", counted)
    return found


def test_a_request_reads_each_image_once(
    finder: Function, make_task: MakeTask, start: Start, opened: list[Path], media_root: Path
) -> None:
    task = make_task(30)
    opened.clear()
    request = run(start(task_id=task.pk))
    assert request.done == 30
    read = [path for path in opened if media_root in path.parents]
    assert len(read) == len(set(read)) == 30


def test_a_request_decodes_each_frame_of_a_video_once(
    finder: Function,
    function: FunctionServer,
    start: Start,
    alice: User,
    tmp_path: Path,
    videos: list[CountedVideo],
) -> None:
    function.behave = lambda payload: []
    path = make_video(tmp_path / "video.mp4", frames=60, key_every=10)
    task = create_task(alice, "video", CAR, [path])
    videos.clear()
    request = run(start(task_id=task.pk))
    assert request.done == 60
    assert [video.decoded for video in videos] == [60]


@pytest.mark.parametrize(
    ("annotations", "format_"),
    [
        ({"binary": "true", "accepts": "image/jpeg,image/png,image/bmp"}, "BMP"),
        ({"binary": "true", "accepts": "image/jpeg,image/png"}, "PNG"),
        ({"binary": "true"}, "PNG"),
        ({"accepts": "image/jpeg,image/png,image/bmp"}, "PNG"),  # base64 adds a third
    ],
)
def test_frames_of_a_video_are_sent_as_bmp_to_a_function_that_takes_its_bytes(
    transactional_db: None,
    function: FunctionServer,
    start: Start,
    alice: User,
    tmp_path: Path,
    annotations: dict[str, Any],
    format_: str,
) -> None:
    sent: list[str | None] = []

    def behave(payload: dict[str, Any]) -> list[Any]:
        sent.append(image_of(payload).format)
        return []

    function.behave = behave
    store_function(function.url, **annotations)
    task = create_task(alice, "video", CAR, [make_video(tmp_path / "video.mp4", frames=4)])
    assert run(start(task_id=task.pk)).done == 4
    assert sent == [format_] * 4


def test_region_of_a_video_is_sent_as_bmp_to_a_function_that_takes_its_bytes(
    transactional_db: None, function: FunctionServer, start: Start, alice: User, tmp_path: Path
) -> None:
    sent: list[tuple[str | None, tuple[int, int]]] = []

    def behave(payload: dict[str, Any]) -> list[Any]:
        image = image_of(payload)
        sent.append((image.format, image.size))
        return []

    function.behave = behave
    store_function(function.url, binary="true", accepts="image/jpeg,image/png,image/bmp")
    task = create_task(alice, "video", CAR, [make_video(tmp_path / "video.mp4", frames=2)])
    assert run(start(task_id=task.pk, roi=[8, 8, 40, 32])).done == 2
    assert sent == [("BMP", (32, 24))] * 2


@pytest.mark.parametrize("kind", ["detector", "tracker"])
def test_frames_of_one_call_have_at_most_half_of_the_bytes_that_may_wait(
    transactional_db: None,
    function: FunctionServer,
    start: Start,
    alice: User,
    settings: Settings,
    tmp_path: Path,
    kind: str,
) -> None:
    """16 BMP files of 1920 x 1080 pixels have 100 MB, and several such calls are in memory."""
    settings.CVAT_LAMBDA_READ_AHEAD_BYTES = 4 * bmp_bytes(64, 48)
    sent: list[int] = []
    car = {"type": "rectangle", "points": [4, 4, 20, 20]}

    def behave(payload: dict[str, Any]) -> Any:
        count = len(payload["images"])
        sent.append(count)
        if kind == "detector":
            return {"results": [[]] * count}
        return {"results": [[car]] * count, "states": [{"seen": True}]}

    function.behave = behave
    more: dict[str, Any] = {"max_batch": "4"} if kind == "detector" else {"max_frames": "4"}
    store_function(
        function.url,
        kind=kind,
        binary="true",
        accepts="image/png,image/bmp",
        supported_shape_types="rectangle",
        **more,
    )
    task = create_task(alice, "video", CAR, [make_video(tmp_path / "video.mp4", frames=8)])
    more_of_start = {"tracking": follow(box(0, 5))} if kind == "tracker" else {}
    assert run(start(task_id=task.pk, **more_of_start)).done == 8
    assert sent == [2] * 4


def test_two_frames_of_a_video_fit_into_one_call_of_a_reid_function(
    matcher: Function, function: FunctionServer, start: Start, alice: User, tmp_path: Path
) -> None:
    """One BMP file of 300 KB fits into 500 KB, two do not. PNG files of these frames are small."""
    sent: list[str | None] = []

    def behave(payload: dict[str, Any]) -> list[int]:
        sent.extend(image_of(payload, name).format for name in ("image0", "image1"))
        return [0]

    function.behave = behave
    content = matcher.metadata
    content["metadata"]["annotations"] |= {"binary": "true", "accepts": "image/png,image/bmp"}
    content["spec"]["triggers"]["http"]["attributes"]["maxRequestBodySize"] = 500_000
    matcher.save()
    video = make_video(tmp_path / "video.mp4", frames=3, size=(400, 250))
    task = create_task(alice, "video", CAR, [video])
    draw(task.pk, {frame: [10] for frame in range(3)})
    assert run(start(task_id=task.pk, function_id="matcher")).done == 3
    assert sent == ["PNG"] * 4


def test_detector_of_a_track_request_gets_no_bmp_files_if_only_the_tracker_takes_them(
    transactional_db: None,
    function: FunctionServer,
    start: Start,
    alice: User,
    tmp_path: Path,
    videos: list[CountedVideo],
) -> None:
    """Otherwise they would become JPEG files, which lose details."""
    to_tracker, to_detector = set(), set()
    car = {"type": "rectangle", "points": [4, 4, 20, 20]}

    def follow(payload: dict[str, Any]) -> Any:
        to_tracker.add(image_of(payload).format)
        count = len(payload["shapes"])
        return {"shapes": [car] * count, "states": [{"seen": True}] * count}

    def detect(payload: dict[str, Any]) -> Any:
        to_detector.add(image_of(payload).format)
        return [{"label": "car", "confidence": 0.9, **car}]

    function.behave = follow
    follower: dict[str, Any] = {
        "supported_shape_types": "rectangle",
        "accepts": "image/jpeg,image/png,image/bmp",
    }
    store_function(function.url, "tracker", kind="tracker", labels=[], binary="true", **follower)
    path = make_video(tmp_path / "video.mp4", frames=6)
    task = create_task(alice, "video", CAR, [path])
    videos.clear()
    with function_server() as detector:
        detector.behave = detect
        store_function(detector.url, "detector", binary="true", accepts="image/jpeg,image/png")
        tracking = Tracking(start=StartDetector(detector="detector", every=2))
        request = run(start(task_id=task.pk, function_id="tracker", tracking=tracking))
    assert request.done == 6
    assert (to_tracker, to_detector) == ({"BMP"}, {"PNG"})
    assert len(videos) == 1  # a frame is not read again for the detector


def test_request_on_the_last_frames_of_a_video_does_not_decode_the_first(
    finder: Function,
    function: FunctionServer,
    start: Start,
    alice: User,
    tmp_path: Path,
    videos: list[CountedVideo],
) -> None:
    function.behave = lambda payload: []
    path = make_video(tmp_path / "video.mp4", frames=60, key_every=10)
    task = create_task(alice, "video", CAR, [path])
    videos.clear()
    request = run(start(task_id=task.pk, frames=[[50, 59]]))
    assert request.done == 10
    (video,) = videos
    assert 10 <= video.decoded <= 32  # it starts at most two key frames earlier
