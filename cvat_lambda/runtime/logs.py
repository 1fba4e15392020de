"""The log of a function: rotated files with one line for each record."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Final

MAX_FILE: Final = 4 * 2**20  # bytes; then the file is rotated
_RECORD: Final = re.compile(rb"^(\d{4}-\d\d-\d\dT[\d:.]+Z) \[", re.MULTILINE)
KEPT_FILES: Final = 3  # the current one and two older


class FunctionLog:
    """Appends lines to a file and rotates it. One process writes, any process may read.

    A record that cannot be written, for example on a full disk, is lost and counted. The number of
    lost records is written as soon as possible.

    The supervisor also writes to the file. It uses `append_line`, which opens the file each time.
    """

    def __init__(self, path: Path, *, max_file: int = MAX_FILE) -> None:
        self._path = path
        self._max_file = max_file  # bytes
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._lost = 0  # records since the last one that was written

    def write(self, level: str, message: str, **more: Any) -> None:
        """Write one record without the items of `more` that are None. This raises no error."""
        line = format_line(level, message, **more)
        with self._lock:
            try:
                self._append(line)
            except OSError:
                self._lost += 1

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        with self._lock:
            self._close()

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._file = self._open()
        if self._lost:
            # The last lost record may be half written.
            notice = format_line("warn", f"{self._lost} records could not be written: disk full?")
            _write_whole(self._file, b"\n" + notice)
            self._lost = 0
        _write_whole(self._file, line)
        if self._file.tell() > self._max_file:
            self._close()
            _rotate(self._path)
            self._file = self._open()

    def _open(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("ab", buffering=0)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _write_whole(file: IO[bytes], data: bytes) -> None:
    if file.write(data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def append_line(path: Path, level: str, message: str, **more: Any) -> None:
    """Append one record to a log that another process may be writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(format_line(level, message, **more))
        no_process_rotates_it = file.tell() > 2 * MAX_FILE
    if no_process_rotates_it:
        _rotate(path)


def format_line(level: str, message: str, **more: Any) -> bytes:
    """Return one record as a line: time (UTC), level, text, then JSON of `more`."""
    now = _stamp(datetime.now(timezone.utc))
    known = {key: value for key, value in more.items() if value not in (None, "")}
    trace = known.pop("traceback", None)
    tail = f" {json.dumps(known, default=str)}" if known else ""
    text = message.replace("\n", "\n    ")
    line = f"{now} [{level}] {text}{tail}\n"
    if trace:
        line += "".join(f"    {row}\n" for row in str(trace).rstrip().splitlines())
    return line.encode("utf-8", "backslashreplace")


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def read_log(
    path: Path, lines: int | None = None, since: datetime | None = None
) -> tuple[bytes, int]:
    """Return the end of a log with its rotated files, and the position in the current file.

    The end is the last lines, the records since a time, or all that is kept.
    """
    text, end = b"", 0
    for age in range(KEPT_FILES):
        # A file may be missing while the files are rotated.
        with contextlib.suppress(FileNotFoundError):
            read = _aged(path, age).read_bytes()
            text = read + text
            end = len(read) if age == 0 else end
        if lines is not None and text.count(b"\n") > lines:
            break
    if since is not None:
        text = _since(text, since)
    if lines is not None:
        text = b"".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else b""
    return text, end


def _since(text: bytes, time: datetime) -> bytes:
    """Return the records since a time."""
    wanted = _stamp(time).encode()
    for record in _RECORD.finditer(text):
        if record[1] >= wanted:
            return text[record.start() :]
    return b""


def _rotate(path: Path) -> None:
    for age in range(KEPT_FILES - 1, 0, -1):
        older, newer = _aged(path, age), _aged(path, age - 1)
        if newer.exists():
            os.replace(newer, older)


def remove_log(path: Path) -> None:
    """Delete a log and its rotated files."""
    for age in range(KEPT_FILES):
        _aged(path, age).unlink(missing_ok=True)


def _aged(path: Path, age: int) -> Path:
    return path if age == 0 else path.with_name(f"{path.name}.{age}")
