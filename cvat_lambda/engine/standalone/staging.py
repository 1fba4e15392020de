"""Files on their way to a task: whole ones, and pieces of resumable uploads (TUS 1.0.0).

All state is on disk, so that any server process can take the next piece.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media import storage
from cvat_lambda.engine.standalone.media.files import SourceFile, check_names
from cvat_lambda.errors import InvalidRequest, NotFound, PayloadTooLarge, StateConflict

_BLOCK = 1024 * 1024
_ID = re.compile(r"^[0-9a-f]{32}$")
_MAX_NAME_BYTES = 255


def base_name(name: str) -> str:
    """Return a client's path without its folders. Raise InvalidRequest for an unusable name."""
    base = re.split(r"[/\\]", name)[-1].strip()
    unusable = base in ("", ".", "..") or "\x00" in base
    if unusable or len(base.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        raise InvalidRequest("a file needs a name of 1 to 255 bytes")
    return base


class Staging:
    """The files uploaded for one task that are not its media yet."""

    def __init__(self, task_id: int, part: str = "") -> None:
        """``part`` names a folder of its own, for files that become no frames."""
        self._folder = storage.upload_folder(task_id) / part
        self._known_bytes: int | None = None

    def clear(self) -> None:
        """Forget everything uploaded so far."""
        self._known_bytes = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def files(self) -> list[SourceFile]:
        """Return the complete files in the order in which they arrived."""
        notes = []
        for path in self._folder.glob("*.json"):
            if path.with_suffix(".file").exists():
                notes.append((json.loads(path.read_text()), path.with_suffix(".file")))
        notes.sort(key=lambda item: int(item[0]["at"]))
        return [SourceFile(path=path, name=note["name"]) for note, path in notes]

    def require_whole(self) -> None:
        """Raise InvalidRequest where a file has begun to come and is nowhere whole."""
        whole = {file.name for file in self.files()}
        for path in self._folder.glob("*.json"):
            note = json.loads(path.read_text())
            if not path.with_suffix(".file").exists() and note["name"] not in whole:
                there, length = self.progress(path.stem)
                raise InvalidRequest(
                    f"of file '{note['name']}' only {there} of {length} bytes are there: "
                    "send the others, or begin anew"
                )

    def size_bytes(self) -> int:
        """Return the bytes of the files. A file in progress counts with its announced length."""
        size = 0
        for path in self._folder.glob("*.file"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        for path in self._folder.glob("*.part"):
            with suppress(FileNotFoundError):  # renamed meanwhile, when it became whole
                note = path.with_suffix(".json")
                announced = json.loads(note.read_text())["length"] if note.exists() else None
                size += path.stat().st_size if announced is None else int(announced)
        return size

    def add(self, name: str, blocks: Iterable[bytes]) -> str:
        """Keep a whole file; its name without folders. Raise InvalidRequest, PayloadTooLarge.

        The same file sent again is one file. Another of that name is kept beside it: what becomes
        of them is not for this place to decide, and none may get lost here.
        """
        base = base_name(name)
        digest = hashlib.blake2b(base.encode("utf-8", "replace") + b"\0", digest_size=16)
        budget = engine_settings.MAX_UPLOAD_BYTES - self._counted_bytes()
        self._folder.mkdir(parents=True, exist_ok=True)
        coming = self._folder / f"{uuid.uuid4().hex}.part"
        try:
            with coming.open("wb") as sink:
                for block in blocks:
                    budget -= len(block)
                    if budget < 0:
                        most = engine_settings.MAX_UPLOAD_BYTES
                        raise PayloadTooLarge(f"a task takes {most} bytes at most")
                    sink.write(block)
                    digest.update(block)
        except BaseException:
            coming.unlink(missing_ok=True)
            raise
        key = digest.hexdigest()
        whole = self._folder / f"{key}.file"
        if not whole.exists():
            self._known_bytes = engine_settings.MAX_UPLOAD_BYTES - budget
        os.replace(coming, whole)
        self._note(key, base, None)
        return base

    def _counted_bytes(self) -> int:
        """Return the folder's size, counted once, as one message may contain thousands of files."""
        if self._known_bytes is None:
            self._known_bytes = self.size_bytes()
        return self._known_bytes

    def begin(self, name: str, length: int) -> str:
        """Begin a resumable upload of so many bytes; its id. Raise InvalidRequest."""
        base = base_name(name)
        key = uuid.uuid4().hex
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._exclusive():  # two that begin at once must not both take the last space
            if length + self.size_bytes() > engine_settings.MAX_UPLOAD_BYTES:
                maximum = engine_settings.MAX_UPLOAD_BYTES
                raise PayloadTooLarge(f"a task takes {maximum} bytes at most")
            self._note(key, base, length)
            (self._folder / f"{key}.part").touch()
        if length == 0:
            self._finish(key)
        return key

    def progress(self, key: str) -> tuple[int, int]:
        """Return the bytes received so far and the total. Raise NotFound."""
        note = self._read_note(key)
        part, whole = self._folder / f"{key}.part", self._folder / f"{key}.file"
        if whole.exists():
            return int(note["length"]), int(note["length"])
        return (part.stat().st_size if part.exists() else 0), int(note["length"])

    def name(self, key: str) -> str:
        """Return the name of a file that is uploaded in pieces. Raise NotFound."""
        return str(self._read_note(key)["name"])

    def append(self, key: str, offset: int, stream: IO[bytes], length: int) -> int:
        """Add a piece that begins at `offset`; the next offset.

        A connection that breaks leaves what came; the client asks how much and goes on there.
        Raise NotFound, StateConflict where the offset is not the next one, InvalidRequest where
        the piece would be more than was announced.
        """
        with self._locked(key):
            there, whole = self.progress(key)
            if offset != there:
                raise StateConflict(f"the next byte is {there}, not {offset}", upload_offset=there)
            if offset + length > whole:
                raise InvalidRequest(f"the file was announced with {whole} bytes")
            if there == whole:
                return there  # nothing is missing; an empty piece must not begin the file anew
            with (self._folder / f"{key}.part").open("ab") as sink:
                while length > 0 and (block := stream.read(min(_BLOCK, length))):
                    sink.write(block)
                    length -= len(block)
                    there += len(block)
            if there == whole:
                self._finish(key)
            return there

    def ordered(self, names: Sequence[str]) -> list[SourceFile]:
        """Return the complete files in the order of these names. Raise InvalidRequest."""
        files = self.files()
        check_names(file.name for file in files)
        by_name = {file.name: file for file in files}
        wanted = [base_name(name) for name in names]
        if sorted(wanted) != sorted(by_name):
            raise InvalidRequest("upload_file_order must name each uploaded file once")
        return [by_name[name] for name in wanted]

    def _finish(self, key: str) -> None:
        os.replace(self._folder / f"{key}.part", self._folder / f"{key}.file")

    def _note(self, key: str, name: str, length: int | None) -> None:
        note = {"name": name, "at": time.time_ns(), "length": length}
        (self._folder / f"{key}.json").write_text(json.dumps(note))

    def _read_note(self, key: str) -> dict[str, Any]:
        path = self._folder / f"{key}.json"
        if not _ID.match(key) or not path.exists():
            raise NotFound("the upload was not found")
        note: dict[str, Any] = json.loads(path.read_text())
        if note["length"] is None:
            raise NotFound("the upload was not found")
        return note

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock the folder against other processes that begin an upload for the same task."""
        with (self._folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Two connections that send the same piece must not both write it."""
        self._read_note(key)
        with (self._folder / f"{key}.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
