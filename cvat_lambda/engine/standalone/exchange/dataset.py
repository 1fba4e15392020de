"""What an export writes: the frames of a task or a job with their annotations.

The writers of the formats know nothing else of the engine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath

from cvat_lambda.annotations.types import Label, Shape, Tag


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

    task_id: int
    name: str
    labels: tuple[Label, ...]
    frames: tuple[DatasetFrame, ...]

    @property
    def size(self) -> int:
        """The number of frames."""
        return len(self.frames)


def safe_name(name: str) -> str:
    """Return a name of a file inside an archive: relative, without ``..``."""
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/")
    ]
    return "/".join(parts) or "frame"


def stem_of(name: str) -> str:
    """Return the name of a file inside an archive without its suffix."""
    return os.path.splitext(safe_name(name))[0]
