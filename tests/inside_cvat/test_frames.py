"""Frames out of CVAT: original files, chunks read once, honeypots, rotated photographs."""

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
from cvat_lambda.engine.cvat.chunks import OpenChunks
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FrameUnreadable
from tests.inside_cvat.host import SIZE, Host
from tests.integration.engine.videos import grey_of


@pytest.fixture
def chunks_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the chunks that CVAT's cache was asked for."""
    asked: list[str] = []
    ask = MediaCache._get_cache_item

    def noted(self: Any, key: str) -> Any:
        asked.append(key)
        return ask(self, key)

    monkeypatch.setattr(MediaCache, "_get_cache_item", noted)
    monkeypatch.setattr(frames, "_open_chunks", OpenChunks(frames.MAX_OPEN_CHUNKS))
    return asked


def folder_of(task_id: int) -> Path:
    return Path(models.Task.objects.get(pk=task_id).data.get_raw_data_dirname())


def drop_originals(task_id: int) -> None:
    """As where the images are in a cloud storage: chunks, no files."""
    folder = folder_of(task_id)
    shutil.move(folder, folder.with_name("gone"))


def warm(task_id: int, frame: int) -> None:
    """Have CVAT make the chunks of a task."""
    from cvat.apps.engine.frame_provider import TaskFrameProvider

    TaskFrameProvider(models.Task.objects.get(pk=task_id)).get_frame(frame)


def shown(host: Host, task_id: int, frames: int) -> list[int]:
    """Which pictures a stream gives."""
    found = list(host.engine.frames(task_id, range(frames)))
    return [host.picture_of(frame) for frame in found if isinstance(frame, Frame)]


def test_images_that_cvat_keeps_need_no_chunk(host: Host, chunks_read: list[str]) -> None:
    task_id = host.task(frames=5)
    chunks_read.clear()  # CVAT made a preview
    assert shown(host, task_id, 5) == [0, 1, 2, 3, 4]
    assert host.picture_of(host.engine.frame(task_id, 3)) == 3
    assert chunks_read == []


def test_stream_reads_each_chunk_once(host: Host, chunks_read: list[str]) -> None:
    task_id = host.task(frames=7, segment_size=4, data={"chunk_size": 2})
    for frame in (0, 2, 4, 6):
        warm(task_id, frame)
    drop_originals(task_id)
    chunks_read.clear()
    assert shown(host, task_id, 7) == list(range(7))
    assert len(chunks_read) == len(set(chunks_read)) == 4


def test_calls_share_an_open_chunk(host: Host, chunks_read: list[str]) -> None:
    task_id = host.task(frames=6, video=True)
    warm(task_id, 0)
    chunks_read.clear()
    for number in (0, 4, 2, 5):
        assert host.picture_of(host.engine.frame(task_id, number)) == number
    assert len(chunks_read) == 1


def test_photograph_comes_as_the_annotator_sees_it(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.new("L", SIZE, grey_of(3)).save(path, exif=exif)
    task_id = host.task(files=[path])
    frame = host.engine.frame(task_id, 0)
    with Image.open(io.BytesIO(frame.data)) as image:
        assert image.size == (SIZE[1], SIZE[0]) == (frame.width, frame.height)
        assert image.getexif().get(0x0112, 1) == 1


def test_broken_file_is_one_unreadable_frame(host: Host) -> None:
    task_id = host.task(frames=3)
    (folder_of(task_id) / "001.png").write_bytes(b"no image")
    found = list(host.engine.frames(task_id, range(3)))
    assert [type(frame) for frame in found] == [Frame, UnreadableFrame, Frame]
    with pytest.raises(FrameUnreadable):
        host.engine.frame(task_id, 1)


def test_frame_key_follows_the_file(host: Host) -> None:
    task_id = host.task(frames=2)
    before = host.engine.frame_key(task_id, 0)
    Image.new("L", SIZE, 200).save(folder_of(task_id) / "000.png")
    assert host.engine.frame_key(task_id, 0) != before


def honeypots(host: Host) -> int:
    """A task whose three last frames are hidden among the others."""
    validation = {
        "mode": "gt_pool",
        "frame_selection_method": "manual",
        "frames": ["005.png", "006.png", "007.png"],
        "frames_per_job_count": 1,
        "random_seed": 1,
    }
    data = {f"validation_params.{key}": value for key, value in validation.items()}
    data["sorting_method"] = "random"
    return host.task(frames=8, segment_size=3, data=data)


def test_honeypots_and_their_pool_are_told_apart(host: Host) -> None:
    task_id = honeypots(host)
    task = host.engine.task(task_id)
    pool = [job for job in task.jobs if job.type == "ground_truth"]
    assert len(pool) == 1
    assert task.validation_frames == frozenset(pool[0].frames)
    assert len(task.validation_frames) == 3
    assert max(task.validation_frames) == task.size - 1
    ordinary = [job for job in task.jobs if job.type == "annotation"]
    assert all(len(task.placeholder_frames & set(job.frames)) == 1 for job in ordinary)
    for number in task.placeholder_frames:
        assert host.picture_of(host.engine.frame(task_id, number)) in (5, 6, 7)


def test_honeypot_that_becomes_another_is_read_anew(host: Host) -> None:
    task_id = honeypots(host)
    task = host.engine.task(task_id)
    job = next(job for job in task.jobs if job.type == "annotation")
    path = f"/api/jobs/{job.id}/validation_layout"
    layout = host.send("get", path)
    (number,), (before,) = layout["honeypot_frames"], layout["honeypot_real_frames"]
    after = next(frame for frame in sorted(task.validation_frames) if frame != before)
    old_key = host.engine.frame_key(task_id, number)
    picture = host.picture_of(host.engine.frame(task_id, number))
    change = {"frame_selection_method": "manual", "honeypot_real_frames": [after]}
    host.send("patch", path, change)
    frames._looks.last = None  # half a second later
    assert host.engine.frame_key(task_id, number) != old_key
    found = host.picture_of(host.engine.frame(task_id, number))
    assert found == host.picture_of(host.engine.frame(task_id, after)) != picture


def test_disabled_validation_frames_are_not_of_the_ground_truth_job(host: Host) -> None:
    task_id = host.task(frames=6)
    job_id = host.ground_truth_job(task_id, [1, 2, 4])
    path = f"/api/tasks/{task_id}/validation_layout"
    host.send("patch", path, {"disabled_frames": [2]})
    assert list(host.engine.job(job_id).frames) == [1, 4]


def test_replicas_of_a_consensus_task_have_the_frames_of_their_job(host: Host) -> None:
    task_id = host.task(frames=4, segment_size=2, spec={"consensus_replicas": 2})
    jobs = host.engine.task(task_id).jobs
    replicas = [job for job in jobs if job.type == "consensus_replica"]
    assert sorted(list(job.frames) for job in replicas) == [[0, 1], [0, 1], [2, 3], [2, 3]]
