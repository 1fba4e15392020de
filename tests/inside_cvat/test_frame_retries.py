"""Frames whose storage does not answer, for a while or permanently."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from cvat.apps.engine.cache import MediaCache
from cvat.apps.engine.exceptions import CloudStorageMissingError
from cvat.apps.engine.utils import CvatChunkTimestampMismatchError
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError

from cvat_lambda.engine.cvat import chunks, frames, stream
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import EngineUnavailable
from tests.inside_cvat.scenarios import CvatScenarios
from tests.inside_cvat.test_frames import folder_of, warm

Fail = Callable[[int], Exception | None]  # by number of the chunk


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RETRY_FOR_S", 0.3)
    frames.clear_caches()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """CVAT's cache of chunks. ``fail`` returns the error of a read; ``asked`` counts reads."""
    state: dict[str, Any] = {"fail": lambda chunk: None, "asked": Counter()}
    ask = MediaCache.get_or_set_segment_chunk

    def asked(self: Any, segment: Any, chunk: int, **more: Any) -> Any:
        state["asked"][chunk] += 1
        error = state["fail"](chunk)
        if error is not None:
            raise error
        return ask(self, segment, chunk, **more)

    monkeypatch.setattr(MediaCache, "get_or_set_segment_chunk", asked)
    return state


@pytest.fixture
def task_id(cvat: CvatScenarios, storage: dict[str, Any]) -> int:
    """Six frames in three chunks, without their original files."""
    found = cvat.task(frames=6, data={"chunk_size": 2})
    for frame in (0, 2, 4):
        warm(found, frame)
    folder = folder_of(found)
    shutil.move(folder, folder.with_name("gone"))
    storage["asked"].clear()
    return found


def first_times(count: int, error: Exception) -> Fail:
    left = Counter({"failures": count})

    def fail(chunk: int) -> Exception | None:
        left["failures"] -= 1
        return error if left["failures"] >= 0 else None

    return fail


@pytest.mark.parametrize(
    "error",
    [
        CvatChunkTimestampMismatchError("older than its segment"),  # CVAT's API answers 429
        TimeoutError("chunk processing takes too long"),
        LockError("not acquired"),
        RedisConnectionError("connection refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_stream_retries_until_the_storage_answers(
    cvat: CvatScenarios, storage: dict[str, Any], task_id: int, error: Exception
) -> None:
    storage["fail"] = first_times(2, error)
    found = list(cvat.engine.frames(task_id, range(6)))
    assert [cvat.picture_of(frame) for frame in found if isinstance(frame, Frame)] == [*range(6)]


def test_chunk_that_cannot_be_read_makes_its_own_frames_unreadable(
    cvat: CvatScenarios, storage: dict[str, Any], task_id: int
) -> None:
    storage["fail"] = lambda chunk: TimeoutError() if chunk == 1 else None
    found = list(cvat.engine.frames(task_id, range(6)))
    assert [type(frame) for frame in found] == [
        *(Frame, Frame),
        *(UnreadableFrame, UnreadableFrame),
        *(Frame, Frame),
    ]
    lost = found[2]
    assert isinstance(lost, UnreadableFrame)
    assert f"the chunk of frame 2 of task #{task_id}" in lost.error.message
    assert "'chunks' queue" in lost.error.message
    asked = storage["asked"]
    assert asked[1] > 2  # retries for the first frame, one more read for the second
    assert (asked[0], asked[2]) == (1, 1)


def test_second_unreadable_chunk_in_a_row_ends_the_stream(
    cvat: CvatScenarios, storage: dict[str, Any], task_id: int
) -> None:
    storage["fail"] = lambda chunk: RedisConnectionError("refused") if chunk else None
    found = []
    with pytest.raises(EngineUnavailable, match="cache of chunks does not answer"):
        for frame in cvat.engine.frames(task_id, range(6)):
            found.append(type(frame))
    assert found == [Frame, Frame, UnreadableFrame, UnreadableFrame]


def test_deleted_cloud_storage_is_not_retried(
    cvat: CvatScenarios, storage: dict[str, Any], task_id: int
) -> None:
    storage["fail"] = lambda chunk: CloudStorageMissingError("no storage")
    with pytest.raises(EngineUnavailable, match="lost its cloud storage"):
        next(cvat.engine.frames(task_id, range(6)))
    assert storage["asked"] == Counter({0: 1})


def test_call_retries_once_for_a_chunk_that_is_made_again(
    cvat: CvatScenarios, storage: dict[str, Any], task_id: int
) -> None:
    storage["fail"] = first_times(1, CvatChunkTimestampMismatchError("older"))
    assert cvat.picture_of(cvat.engine.frame(task_id, 3)) == 3
    storage["fail"] = lambda chunk: CvatChunkTimestampMismatchError("older")
    with pytest.raises(EngineUnavailable, match="is making the chunk of frame 5"):
        cvat.engine.frame(task_id, 5)


def test_database_error_is_translated_to_engine_unavailable() -> None:
    with (
        pytest.raises(EngineUnavailable, match="the database does not answer"),
        chunks.translate_errors(7, 3),
    ):
        raise OperationalError("server closed the connection unexpectedly")
