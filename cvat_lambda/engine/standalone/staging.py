"""Uploaded files that are not yet the frames of a task, also in parts (TUS 1.0.0).

All state is on disk, so that any server process can receive the next part of a file. With an object
store, what was received is copied there, so that another web host can receive the next part.
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
from cvat_lambda.engine.standalone.media.upload_copies import UploadCopies
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
    """The files that were uploaded for one task and are not its frames yet."""

    def __init__(self, task_id: int, part: str = "") -> None:
        """``part`` names a subfolder, for files that do not become frames."""
        self._folder = storage.upload_folder(task_id) / part
        self._copies = UploadCopies(self._folder)
        self._is_loaded = False
        self._known_bytes: int | None = None

    def clear(self) -> None:
        """Delete all uploaded files."""
        self._known_bytes = None
        shutil.rmtree(self._folder, ignore_errors=True)
        self._copies.clear()

    def load(self) -> None:
        """Fetch what other hosts have received. Raise EngineUnavailable."""
        if not self._is_loaded and storage.object_store() is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._exclusive():
                self._copies.load()
                self._finish_complete()
            self._is_loaded = True

    def _finish_complete(self) -> None:
        for path in self._folder.glob("*.json"):
            part, length = path.with_suffix(".part"), json.loads(path.read_text())["length"]
            if part.exists() and length in (None, part.stat().st_size):
                self._finish(path.stem)

    def files(self) -> list[SourceFile]:
        """Return the complete files in the order in which they arrived."""
        self.load()
        notes = []
        for path in self._folder.glob("*.json"):
            if path.with_suffix(".file").exists():
                notes.append((json.loads(path.read_text()), path.with_suffix(".file")))
        notes.sort(key=lambda item: int(item[0]["at"]))
        return [SourceFile(path=path, name=note["name"]) for note, path in notes]

    def require_complete(self) -> None:
        """Raise InvalidRequest if a file is incomplete and no complete file has its name."""
        complete = {file.name for file in self.files()}
        for path in self._folder.glob("*.json"):
            note = json.loads(path.read_text())
            if not path.with_suffix(".file").exists() and note["name"] not in complete:
                received, length = self.progress(path.stem)
                raise InvalidRequest(
                    f"file '{note['name']}' is incomplete: {received} of {length} bytes "
                    "were received; send the others, or upload the file again"
                )

    def size_bytes(self) -> int:
        """Return the bytes of the files. A file in progress counts with its announced length."""
        size = 0
        for path in self._folder.glob("*.file"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        for path in self._folder.glob("*.part"):
            with suppress(FileNotFoundError):  # another process has renamed the complete file
                note = path.with_suffix(".json")
                announced = json.loads(note.read_text())["length"] if note.exists() else None
                size += path.stat().st_size if announced is None else int(announced)
        return size

    def add(self, name: str, blocks: Iterable[bytes]) -> str:
        """Store a complete file. Return its name without folders.

        A file that is sent again with the same name and content is stored once. Files of equal
        names and different contents are all stored; `ordered` and the ingestion refuse them.
        Raise InvalidRequest, PayloadTooLarge.
        """
        base = base_name(name)
        digest = hashlib.blake2b(base.encode("utf-8", "replace") + b"\0", digest_size=16)
        budget = engine_settings.MAX_UPLOAD_BYTES - self._counted_bytes()
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as sink:
                for block in blocks:
                    budget -= len(block)
                    if budget < 0:
                        raise _too_large()
                    sink.write(block)
                    digest.update(block)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        key = digest.hexdigest()
        complete = self._folder / f"{key}.file"
        if not complete.exists():
            self._known_bytes = engine_settings.MAX_UPLOAD_BYTES - budget
        with self._exclusive():  # a process that loads copies deletes files that have none
            os.replace(part, complete)
            self._note(key, base, None)
            self._copies.save(key)
        return base

    def _counted_bytes(self) -> int:
        """Return the folder's size, counted once, as one message may contain thousands of files."""
        if self._known_bytes is None:
            self._known_bytes = self.size_bytes()
        return self._known_bytes

    def begin(self, name: str, length: int) -> str:
        """Begin a resumable upload of ``length`` bytes. Return its id.

        Raise InvalidRequest, PayloadTooLarge.
        """
        base = base_name(name)
        key = uuid.uuid4().hex
        self.load()
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._exclusive():  # two uploads must not both reserve the last bytes
            if length + self.size_bytes() > engine_settings.MAX_UPLOAD_BYTES:
                raise _too_large()
            self._note(key, base, length)
            (self._folder / f"{key}.part").touch()
            self._copies.save(key, is_new=True)
        if length == 0:
            self._finish(key)
        return key

    def progress(self, key: str) -> tuple[int, int]:
        """Return the bytes received so far and the total. Raise NotFound."""
        self.load()
        note = self._read_note(key)
        part, complete = self._folder / f"{key}.part", self._folder / f"{key}.file"
        if complete.exists():
            return int(note["length"]), int(note["length"])
        return (part.stat().st_size if part.exists() else 0), int(note["length"])

    def name(self, key: str) -> str:
        """Return the name of a file that is uploaded in parts. Raise NotFound."""
        return str(self._read_note(key)["name"])

    def append(self, key: str, offset: int, stream: IO[bytes], length: int) -> int:
        """Append a part that begins at `offset`. Return the offset of the next part.

        If the connection breaks, the bytes that were received are kept. The client asks for their
        number and sends the others. Raise NotFound; StateConflict if the offset is not the number
        of received bytes; InvalidRequest if the file becomes longer than announced.
        """
        with self._locked(key):
            received, announced = self.progress(key)
            if offset != received:
                raise StateConflict(
                    f"the next offset is {received}, not {offset}", upload_offset=received
                )
            if offset + length > announced:
                raise InvalidRequest(f"the announced length of the file is {announced} bytes")
            if received == announced:
                return received  # an empty part must not create a new file
            with (self._folder / f"{key}.part").open("ab") as sink:
                while length > 0 and (block := stream.read(min(_BLOCK, length))):
                    sink.write(block)
                    length -= len(block)
                    received += len(block)
            self._copies.save(key)
            if received == announced:
                self._finish(key)
            return received

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
        """Let only one connection at a time append to a file."""
        self.load()
        self._read_note(key)
        with (self._folder / f"{key}.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the files of a task have at most {engine_settings.MAX_UPLOAD_BYTES} bytes"
    )
