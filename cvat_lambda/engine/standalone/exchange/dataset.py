"""What an export writes: the frames of a task or a job with their annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import Label, Shape, Tag
from cvat_lambda.engine.port import UnreadableFrame
from cvat_lambda.engine.standalone import models, reading
from cvat_lambda.engine.standalone.labels import label_tree
from cvat_lambda.engine.standalone.media import reader
from cvat_lambda.engine.standalone.scope import scope_of

FRAMES_AT_ONCE: Final = 500  # whose names and sizes are read with one query


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFrame:
    """One frame. Tracks are shapes on the frames on which they are visible."""

    number: int  # relative to the task
    name: str  # of the image file, with folders
    width: int
    height: int
    shapes: tuple[Shape, ...] = ()  # of tracks, too; they have no id
    track_ids: tuple[int | None, ...] = ()  # of each shape; None: not of a track
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The annotations to export."""

    task: models.Task
    labels: tuple[Label, ...]
    frames: tuple[DatasetFrame, ...]

    @property
    def size(self) -> int:
        """The number of frames."""
        return len(self.frames)


def read_dataset(task: models.Task, job: models.Job | None) -> Dataset:
    """Return the frames of a task, or of one of its jobs; deleted frames are left out."""
    data = task.data
    numbers = list(range(data.size)) if job is None else list(job.segment.frame_numbers)
    numbers = [number for number in numbers if number not in set(data.deleted_frames)]
    found = reading.read(scope_of(task.pk, None if job is None else job.pk))
    shapes: dict[int, list[Shape]] = {}
    for shape in found.shapes:
        shapes.setdefault(shape.frame, []).append(shape)
    tags: dict[int, list[Tag]] = {}
    for tag in found.tags:
        tags.setdefault(tag.frame, []).append(tag)
    is_video = data.kind == models.DataKind.VIDEO
    frames = []
    for start in range(0, len(numbers), FRAMES_AT_ONCE):
        facts = reader.read_facts(task.pk, numbers[start : start + FRAMES_AT_ONCE])
        for number in numbers[start : start + FRAMES_AT_ONCE]:
            tracked = shapes_on_frame(number, found.tracks)
            drawn = shapes.get(number, [])
            frames.append(
                DatasetFrame(
                    number=number,
                    name=f"frame_{number:06d}.png" if is_video else facts[number].name,
                    width=facts[number].width or 0,
                    height=facts[number].height or 0,
                    shapes=(*drawn, *tracked),
                    track_ids=(*[None] * len(drawn), *[shape.id for shape in tracked]),
                    tags=tuple(tags.get(number, ())),
                )
            )
    return Dataset(task=task, labels=label_tree(task.pk, task.project_id), frames=tuple(frames))


def images_of(dataset: Dataset) -> Iterator[tuple[DatasetFrame, bytes]]:
    """Yield the frames with their images; each image is read once. Raise LambdaError."""
    frames = {frame.number: frame for frame in dataset.frames}
    for read in reader.read_frames(dataset.task.pk, sorted(frames)):
        if isinstance(read, UnreadableFrame):
            raise read.error
        yield frames[read.number], read.data


def safe_name(name: str) -> str:
    """Return a name of a file inside an archive: relative, without ``..``."""
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/")
    ]
    return "/".join(parts) or "frame"


def stem_of(name: str) -> str:
    """Return the name of a file inside an archive without its suffix."""
    return os.path.splitext(safe_name(name))[0]
