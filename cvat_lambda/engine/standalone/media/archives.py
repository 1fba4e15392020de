"""Unpack zip archives of images. Names and sizes that an archive states are not trusted."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.errors import InvalidRequest

UNPACKED = "unpacked"

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".jp2", ".avif", ".tga"}
)
_IGNORED_PARTS = ("__MACOSX",)
_BLOCK = 1024 * 1024
_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


def unpack(files: Sequence[SourceFile], folder: Path) -> list[SourceFile]:
    """Return the files, with each archive replaced by its images. Raise InvalidRequest."""
    unpacked: list[SourceFile] = []
    budget = engine_settings.MAX_UPLOAD_BYTES
    for place, file in enumerate(files):
        if not _is_zip(file.path):
            unpacked.append(file)
            continue
        found, budget = _unpack_one(file, folder / UNPACKED / str(place), budget)
        unpacked += found
    return unpacked


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except OSError as exc:
        raise InvalidRequest(f"file '{path.name}' does not exist") from exc


def _wanted(name: str) -> bool:
    path = PurePosixPath(_clean(name))
    if any(part in _IGNORED_PARTS or part.startswith(".") for part in path.parts):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES


def _unpack_one(file: SourceFile, folder: Path, budget: int) -> tuple[list[SourceFile], int]:
    folder.mkdir(parents=True)
    found = []
    try:
        with zipfile.ZipFile(file.path) as archive:
            entries = [item for item in archive.infolist() if not item.is_dir()]
            wanted = [item for item in entries if _wanted(item.filename)]
            _require_ratio(file, wanted)
            for number, entry in enumerate(wanted):
                target = folder / f"{number}{PurePosixPath(entry.filename).suffix.lower()}"
                budget -= _copy_entry(archive, entry, target, budget)
                found.append(SourceFile(path=target, name=_clean(entry.filename)))
    except _ERRORS as exc:
        raise InvalidRequest(f"archive '{file.name}' cannot be unpacked") from exc
    return found, budget


def _require_ratio(file: SourceFile, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse a decompression bomb before anything is unpacked. Raise InvalidRequest."""
    unpacked = sum(entry.file_size for entry in entries)
    limit = engine_settings.MAX_ARCHIVE_RATIO * max(file.path.stat().st_size, _BLOCK // 16)
    if unpacked > limit:
        raise InvalidRequest(
            f"archive '{file.name}' would unpack to {unpacked} bytes, more than"
            f" {engine_settings.MAX_ARCHIVE_RATIO} times its size"
        )


def _clean(name: str) -> str:
    """Return the entry's name without parts that lead out of a folder."""
    return "/".join(part for part in PurePosixPath(name).parts if part not in ("/", ".."))


def _copy_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: int) -> int:
    """Unpack one entry and count the unpacked bytes: the size in the archive may be wrong."""
    written = 0
    with archive.open(entry) as source, target.open("wb") as sink:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > min(budget, entry.file_size):
                shutil.rmtree(target.parent, ignore_errors=True)
                raise InvalidRequest(
                    f"archive '{archive.filename and Path(archive.filename).name}' holds more "
                    f"than the {engine_settings.MAX_UPLOAD_BYTES} bytes that a task may have"
                )
            sink.write(block)
    return written
