"""Read what an export writes from the tables of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import Shape, Tag
from cvat_lambda.engine.port import UnreadableFrame
from cvat_lambda.engine.standalone import models, reading
from cvat_lambda.engine.standalone.exchange.dataset import Dataset, DatasetFrame
from cvat_lambda.engine.standalone.labels import label_tree
from cvat_lambda.engine.standalone.media import reader
from cvat_lambda.engine.standalone.scope import scope_of

FRAMES_AT_ONCE: Final = 500  # whose names and sizes are read with one query


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
    return Dataset(
        task_id=task.pk,
        name=task.name,
        labels=label_tree(task.pk, task.project_id),
        frames=tuple(frames),
    )


def images_of(dataset: Dataset) -> Iterator[tuple[DatasetFrame, bytes]]:
    """Yield the frames with their images; each image is read once. Raise LambdaError."""
    frames = {frame.number: frame for frame in dataset.frames}
    for read in reader.read_frames(dataset.task_id, sorted(frames)):
        if isinstance(read, UnreadableFrame):
            raise read.error
        yield frames[read.number], read.data
