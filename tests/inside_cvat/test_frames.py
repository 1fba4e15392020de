"""Frames of CVAT's tasks: original files, chunks, honeypots, rotated photographs."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from cvat.apps.engine import models
from cvat.apps.engine.cache import MediaCache
from PIL import Image

from cvat_lambda.engine.cvat import frames
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FrameUnreadable
from tests.inside_cvat.scenarios import SIZE, CvatScenarios
from tests.integration.engine.videos import grey_of


@pytest.fixture
def chunks_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the chunks that were read from CVAT's cache."""
    asked: list[str] = []
    ask = MediaCache._get_cache_item

    def noted(self: Any, key: str) -> Any:
        asked.append(key)
        return ask(self, key)

    monkeypatch.setattr(MediaCache, "_get_cache_item", noted)
    frames.clear_caches()
    return asked


def folder_of(task_id: int) -> Path:
    return Path(models.Task.objects.get(pk=task_id).data.get_raw_data_dirname())


def drop_originals(task_id: int) -> None:
    """Remove the original files, as if the images were in a cloud storage."""
    folder = folder_of(task_id)
    shutil.move(folder, folder.with_name("gone"))


def warm(task_id: int, frame: int) -> None:
    """Make CVAT create the chunk of a frame."""
    from cvat.apps.engine.frame_provider import TaskFrameProvider

    TaskFrameProvider(models.Task.objects.get(pk=task_id)).get_frame(frame)


def image_numbers(cvat: CvatScenarios, task_id: int, frames: int) -> list[int]:
    """The numbers of the images that a stream yields."""
    found = list(cvat.engine.frames(task_id, range(frames)))
    return [cvat.picture_of(frame) for frame in found if isinstance(frame, Frame)]


def test_image_on_this_disk_is_read_without_a_chunk(
    cvat: CvatScenarios, chunks_read: list[str]
) -> None:
    task_id = cvat.task(frames=5)
    chunks_read.clear()  # CVAT made a preview
    assert image_numbers(cvat, task_id, 5) == [0, 1, 2, 3, 4]
    assert cvat.picture_of(cvat.engine.frame(task_id, 3)) == 3
    assert chunks_read == []


def test_stream_reads_each_chunk_once(cvat: CvatScenarios, chunks_read: list[str]) -> None:
    task_id = cvat.task(frames=7, segment_size=4, data={"chunk_size": 2})
    for frame in (0, 2, 4, 6):
        warm(task_id, frame)
    drop_originals(task_id)
    chunks_read.clear()
    assert image_numbers(cvat, task_id, 7) == list(range(7))
    assert len(chunks_read) == len(set(chunks_read)) == 4


def test_calls_on_one_chunk_read_it_once(cvat: CvatScenarios, chunks_read: list[str]) -> None:
    task_id = cvat.task(frames=6, video=True)
    warm(task_id, 0)
    chunks_read.clear()
    for number in (0, 4, 2, 5):
        assert cvat.picture_of(cvat.engine.frame(task_id, number)) == number
    assert len(chunks_read) == 1


def test_rotated_photograph_is_returned_upright(cvat: CvatScenarios, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    Image.new("L", SIZE, grey_of(3)).save(path, exif=exif)
    task_id = cvat.task(files=[path])
    frame = cvat.engine.frame(task_id, 0)
    with Image.open(io.BytesIO(frame.data)) as image:
        assert image.size == (SIZE[1], SIZE[0]) == (frame.width, frame.height)
        assert image.getexif().get(0x0112, 1) == 1


def test_broken_file_makes_one_frame_unreadable(cvat: CvatScenarios) -> None:
    task_id = cvat.task(frames=3)
    (folder_of(task_id) / "001.png").write_bytes(b"no image")
    found = list(cvat.engine.frames(task_id, range(3)))
    assert [type(frame) for frame in found] == [Frame, UnreadableFrame, Frame]
    with pytest.raises(FrameUnreadable):
        cvat.engine.frame(task_id, 1)


def test_frame_key_changes_when_the_file_changes(cvat: CvatScenarios) -> None:
    task_id = cvat.task(frames=2)
    before = cvat.engine.frame_key(task_id, 0)
    Image.new("L", SIZE, 200).save(folder_of(task_id) / "000.png")
    assert cvat.engine.frame_key(task_id, 0) != before


def honeypots(cvat: CvatScenarios) -> int:
    """A task with three validation frames, shown as honeypots among the others."""
    validation = {
        "mode": "gt_pool",
        "frame_selection_method": "manual",
        "frames": ["005.png", "006.png", "007.png"],
        "frames_per_job_count": 1,
        "random_seed": 1,
    }
    data = {f"validation_params.{key}": value for key, value in validation.items()}
    data["sorting_method"] = "random"
    return cvat.task(frames=8, segment_size=3, data=data)


def honeypot_frames(cvat: CvatScenarios, job_id: int) -> list[int]:
    """The frames of a job that show validation frames."""
    layout = cvat.send("get", f"/api/jobs/{job_id}/validation_layout")
    found: list[int] = layout["honeypot_frames"]
    return found


def test_honeypot_shows_a_validation_frame(cvat: CvatScenarios) -> None:
    task_id = honeypots(cvat)
    task = cvat.engine.task(task_id)
    pool = [job for job in task.jobs if job.type == "ground_truth"]
    assert len(pool) == 1
    assert task.validation_frames == frozenset(pool[0].frames)
    assert len(task.validation_frames) == 3
    assert max(task.validation_frames) == task.size - 1
    ordinary = [job for job in task.jobs if job.type == "annotation"]
    for job in ordinary:
        (number,) = honeypot_frames(cvat, job.id)
        assert cvat.picture_of(cvat.engine.frame(task_id, number)) in (5, 6, 7)


def test_honeypot_whose_real_frame_changes_has_a_new_key_and_image(cvat: CvatScenarios) -> None:
    task_id = honeypots(cvat)
    task = cvat.engine.task(task_id)
    job = next(job for job in task.jobs if job.type == "annotation")
    path = f"/api/jobs/{job.id}/validation_layout"
    layout = cvat.send("get", path)
    (number,), (before,) = layout["honeypot_frames"], layout["honeypot_real_frames"]
    after = next(frame for frame in sorted(task.validation_frames) if frame != before)
    old_key = cvat.engine.frame_key(task_id, number)
    picture = cvat.picture_of(cvat.engine.frame(task_id, number))
    change = {"frame_selection_method": "manual", "honeypot_real_frames": [after]}
    cvat.send("patch", path, change)
    frames.clear_caches()  # as after `REUSE_FOR_S`
    assert cvat.engine.frame_key(task_id, number) != old_key
    found = cvat.picture_of(cvat.engine.frame(task_id, number))
    assert found == cvat.picture_of(cvat.engine.frame(task_id, after)) != picture


def test_disabled_validation_frame_is_not_in_the_ground_truth_job(cvat: CvatScenarios) -> None:
    task_id = cvat.task(frames=6)
    job_id = cvat.ground_truth_job(task_id, [1, 2, 4])
    path = f"/api/tasks/{task_id}/validation_layout"
    cvat.send("patch", path, {"disabled_frames": [2]})
    assert list(cvat.engine.job(job_id).frames) == [1, 4]


def test_consensus_replica_has_the_frames_of_its_job(cvat: CvatScenarios) -> None:
    task_id = cvat.task(frames=4, segment_size=2, spec={"consensus_replicas": 2})
    jobs = cvat.engine.task(task_id).jobs
    replicas = [job for job in jobs if job.type == "consensus_replica"]
    assert sorted(list(job.frames) for job in replicas) == [[0, 1], [0, 1], [2, 3], [2, 3]]
