"""Turn files into the frames of a task. One invalid file refuses all; the error names it."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media import archives, images, storage, video
from cvat_lambda.engine.standalone.media.files import SourceFile, check_names
from cvat_lambda.errors import InvalidRequest

SortingMethod = Literal["lexicographical", "natural", "predefined", "random"]
Placing = Literal["copy", "move", "link"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which uploaded frames belong to the task, and in which order."""

    sorting_method: SortingMethod = "lexicographical"
    start_frame: int = 0
    stop_frame: int | None = None  # inclusive; None: the last
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """How files become frames."""

    selection: Selection = Selection()
    placing: Placing = "copy"  # of source files; a hard link costs no time and no disk space
    check_pixels: bool = True  # decode each image once to find broken ones
    image_quality: int = 70
    chunk_size: int | None = None
    on_progress: Callable[[], None] | None = None  # called regularly while frames are prepared


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that orders image10 after image9."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def arrange(files: Sequence[SourceFile], method: SortingMethod, seed: int) -> list[SourceFile]:
    """Return the files in the order of the frames."""
    if method == "predefined":
        return list(files)
    if method == "random":
        shuffled = sorted(files, key=lambda file: file.name)
        random.Random(seed).shuffle(shuffled)
        return shuffled
    if method == "natural":
        return sorted(files, key=lambda file: natural_key(file.name))
    return sorted(files, key=lambda file: file.name)


def chosen(count: int, selection: Selection) -> range:
    """Return the items of an upload that become frames. Raise InvalidRequest if there are none."""
    last = count - 1
    stop = last if selection.stop_frame is None else min(selection.stop_frame, last)
    items = range(selection.start_frame, stop + 1, selection.step)
    if not items:
        raise InvalidRequest(
            f"no frame is left: the upload has {count}, "
            f"start_frame is {selection.start_frame} and stop_frame {selection.stop_frame}"
        )
    return items


@dataclass(kw_only=True)
class PreparedFrames:
    """Frames in their folder, and the rows that will add them to a task."""

    data: models.Data
    images: list[models.Image] = field(default_factory=list)
    video: models.Video | None = None
    note: str = ""  # a message for the user who uploads

    def save(self) -> None:
        """Write the rows inside a transaction; call `discard` if it fails."""
        self.data.save(force_insert=True)
        models.Image.objects.bulk_create(self.images, batch_size=2000)
        if self.video is not None:
            self.video.save(force_insert=True)

    def measure(self) -> None:
        """Note how many bytes the files take on disk."""
        self.data.size_bytes = storage.folder_bytes(self.data.folder)

    def discard(self) -> None:
        """Remove the files."""
        storage.remove_folder(self.data.folder)


def prepare(task: models.Task, files: Sequence[SourceFile], how: Ingestion) -> PreparedFrames:
    """Copy the files into the folder of a task's frames, without writing rows.

    The files are one video, or images and zip archives of images. If a file is invalid, nothing is
    left behind. Raise InvalidRequest.
    """
    folder = storage.new_folder()
    try:
        unpacked = archives.unpack(files, storage.data_folder(folder))
        videos = [file for file in unpacked if video.is_video(file.name)]
        if not unpacked:
            raise InvalidRequest("the upload holds no image and no video")
        if videos and len(unpacked) > 1:
            raise InvalidRequest(
                f"'{videos[0].name}' is a video; a task holds one video or images, not both"
            )
        store = _store_video if videos else _store_images
        prepared = store(task, unpacked, folder, how)
        shutil.rmtree(storage.data_folder(folder) / archives.UNPACKED, ignore_errors=True)
        prepared.measure()
        storage.publish(folder, how.on_progress)
    except BaseException:
        storage.remove_folder(folder)
        raise
    return prepared


def _data(
    task: models.Task, kind: models.DataKind, folder: str, items: range, how: Ingestion
) -> models.Data:
    return models.Data(
        task=task,
        kind=kind,
        folder=folder,
        size=len(items),
        start_frame=items[0],
        stop_frame=items[-1],
        step=items.step,
        sorting_method=how.selection.sorting_method,
        image_quality=how.image_quality,
        chunk_size=how.chunk_size or engine_settings.CHUNK_FRAMES,
    )


def _place(source: Path, target: Path, placing: Placing, *, ours: bool) -> None:
    if ours or placing == "move":
        shutil.move(source, target)
        return
    if placing == "link":
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system: copy instead
    shutil.copyfile(source, target)


def _store_images(
    task: models.Task, files: Sequence[SourceFile], folder: str, how: Ingestion
) -> PreparedFrames:
    check_names(file.name for file in files)
    ordered = arrange(files, how.selection.sorting_method, seed=task.pk)
    items = chosen(len(ordered), how.selection)
    data = _data(task, models.DataKind.IMAGES, folder, items, how)
    rows = []
    for number, item in enumerate(items):
        rows.append(_store_image(data, number, ordered[item], how))
        if how.on_progress is not None and number % 64 == 0:
            how.on_progress()
    data.fingerprint = images.fingerprint_of("".join(row.fingerprint for row in rows).encode())
    return PreparedFrames(data=data, images=rows)


def _store_image(data: models.Data, number: int, file: SourceFile, how: Ingestion) -> models.Image:
    root = storage.data_folder(data.folder)
    facts = images.inspect(file.path, file.name, decode=how.check_pixels)
    suffix = re.sub(r"[^a-z0-9.]", "", Path(file.name).suffix.lower())[:8]
    original = f"{storage.ORIGINAL}/{number:06d}{suffix}"
    ours = root in file.path.parents
    _place(file.path, root / original, how.placing, ours=ours)
    shown = original
    if facts.shown is not None:
        shown = f"{storage.DISPLAYED}/{number:06d}{facts.shown.suffix}"
        (root / storage.DISPLAYED).mkdir(exist_ok=True)
        (root / shown).write_bytes(facts.shown.data)
    return models.Image(
        data=data,
        number=number,
        name=file.name,
        path=shown,
        original_path=original,
        mime=facts.mime,
        width=facts.width,
        height=facts.height,
        fingerprint=facts.fingerprint,
    )


def _store_video(
    task: models.Task, files: Sequence[SourceFile], folder: str, how: Ingestion
) -> PreparedFrames:
    (file,) = files
    root = storage.data_folder(folder)
    index = video.index(file.path, file.name, on_progress=how.on_progress)
    items = chosen(len(index.timestamps), how.selection)
    suffix = re.sub(r"[^a-z0-9.]", "", Path(file.name).suffix.lower())[:8]
    path = f"{storage.ORIGINAL}/video{suffix}"
    _place(file.path, root / path, how.placing, ours=root in file.path.parents)
    data = _data(task, models.DataKind.VIDEO, folder, items, how)
    data.fingerprint = index.fingerprint
    row = models.Video(
        data=data,
        name=file.name,
        path=path,
        width=index.width,
        height=index.height,
        rotation=index.rotation,
        timestamps=models.Video.pack(index.timestamps),
        key_timestamps=models.Video.pack(index.key_timestamps),
    )
    return PreparedFrames(data=data, video=row, note=_lost_frames(index))


def _lost_frames(index: video.VideoIndex) -> str:
    if not index.lost_frames:
        return ""
    return (
        f"{index.lost_frames} frames of the video could not be decoded and are missing:"
        f" the task has the other {len(index.timestamps)}."
    )
