"""Function folders as archives: packing for an upload, and safe unpacking."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from cvat_lambda.runtime.cancellation import check_cancelled
from cvat_lambda.runtime.errors import BadRequest, RuntimeFault
from cvat_lambda.runtime.paths import files_below

MAX_UNPACKED: Final = 2 * 2**30  # bytes
MAX_ENTRIES: Final = 20_000
HARDLINK_FROM: Final = 8 * 2**20  # bytes


def pack(folder: Path) -> bytes:
    """Return a zip of a function folder. Links are followed, so shared code is included.

    Raise RuntimeFault if a file cannot be read.
    """
    buffer = io.BytesIO()
    try:
        # Not strict: files from containers often have a date in 1970, which a zip cannot hold.
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for file in sorted(files_below(folder)):
                archive.write(file, file.relative_to(folder).as_posix())
    except OSError as exc:
        raise RuntimeFault(f"the folder {folder} cannot be packed: {exc}") from exc
    return buffer.getvalue()


def copy_folder(folder: Path, target: Path) -> None:
    """Copy a function folder into an empty one; links are followed.

    Large files other than code are linked instead, so that weights beside the code are not copied
    at each start. Raise OSError.
    """
    for file in files_below(folder):
        check_cancelled()
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".py" and file.stat().st_size >= HARDLINK_FROM:
            _link(file.resolve(), place)
        else:
            shutil.copy2(file, place)


def _link(file: Path, place: Path) -> None:
    try:
        # A hard link keeps its content when another file replaces the original.
        place.hardlink_to(file)
    except OSError:
        place.symlink_to(file)  # on another disk, or of another user


def unpack(data: bytes, target: Path) -> None:
    """Unpack a zip or tar into a folder; raise BadRequest for a path outside of the folder."""
    stream = io.BytesIO(data)
    try:
        if zipfile.is_zipfile(stream):
            _unpack_zip(stream, target)
        else:
            stream.seek(0)
            _unpack_tar(stream, target)
    except BadRequest:
        raise
    except Exception as exc:
        # The readers raise many kinds of exceptions for malformed archives.
        raise BadRequest(f"the archive is not a zip or tar that can be read: {exc}") from exc


def _unpack_zip(stream: io.BytesIO, target: Path) -> None:
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        _check_amount(len(entries), sum(entry.file_size for entry in entries))
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise BadRequest(f"the archive holds a link ({entry.filename}): dereference it")
            place = _place(target, entry.filename)
            if entry.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(entry))


def _unpack_tar(stream: io.BytesIO, target: Path) -> None:
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        entries = archive.getmembers()
        _check_amount(len(entries), sum(entry.size for entry in entries))
        for entry in entries:
            place = _place(target, entry.name)
            if entry.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            source = archive.extractfile(entry) if entry.isfile() else None
            if source is None:
                raise BadRequest(f"the archive holds a link ({entry.name}): dereference it")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read())


def _check_amount(entries: int, size: int) -> None:
    if entries > MAX_ENTRIES or size > MAX_UNPACKED:
        raise BadRequest(f"the archive is too large: {entries} files, {size} bytes unpacked")


def _place(target: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BadRequest(f"the archive holds a path that leaves its folder: {name!r}")
    return target.joinpath(*path.parts)
