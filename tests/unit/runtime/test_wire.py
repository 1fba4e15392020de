"""Message frames between processor and worker, log files, and archives."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.runtime import logs
from cvat_lambda.runtime.deploy.archives import pack, unpack
from cvat_lambda.runtime.errors import BadRequest
from cvat_lambda.runtime.processor.events import canonical
from cvat_lambda.runtime.processor.output import describe_exit
from cvat_lambda.runtime.processor.server import logs_header
from cvat_lambda.runtime.worker.channel import BlockingReader, Sender
from cvat_lambda.runtime.worker.frames import HEAD, FrameError, read_head, unpack_meta


@given(
    st.dictionaries(st.text(), st.one_of(st.integers(-(2**31), 2**31), st.text(), st.booleans())),
    st.binary(max_size=100_000),
)
def test_frame_is_received_as_it_was_sent(meta: dict[str, object], body: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        Sender(ours).send(meta, body, 3)
        arrived = BlockingReader(theirs).read()
    assert arrived is not None
    assert (unpack_meta(arrived[0]), arrived[1:]) == (meta, (body, 3))


def test_truncated_frame_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(HEAD.pack(10, 20, 0) + b"x" * 15)
        assert BlockingReader(theirs).read() is None


def test_a_frame_of_more_than_a_gibibyte_is_refused() -> None:
    with pytest.raises(FrameError, match="too long"):
        read_head(HEAD.pack(2**31, 0, 0))


def test_frame_with_text_that_is_not_utf_8_raises_an_error_when_it_is_unpacked() -> None:
    from cvat_lambda.runtime.worker.frames import pack as pack_frame

    packed = pack_frame({"header": "\udcff"})[HEAD.size :]
    with pytest.raises(UnicodeDecodeError):
        unpack_meta(packed)


# --- the log -------------------------------------------------------------------------------------


def test_log_has_a_bounded_size_and_is_read_across_its_files(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    log = logs.FunctionLog(path, max_file=2000)
    for number in range(200):
        log.write("info", f"record {number}")
    log.close()
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == logs.KEPT_FILES
    assert max(sizes) < 2200
    tail = logs.read_log(path, 40)[0].decode().splitlines()
    assert [line.split()[-1] for line in tail] == [str(number) for number in range(160, 200)]
    logs.remove_log(path)
    assert list(tmp_path.iterdir()) == []


def test_records_lost_on_a_full_disk_are_counted_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    path.symlink_to("/dev/full")
    log = logs.FunctionLog(path)
    log.write("info", "lost")
    log.write("info", "lost too")
    log.close()  # the next write opens the file again, as after a rotation
    path.unlink()
    log.write("info", "there is room again")
    log.close()
    told = [line.partition("Z ")[2] for line in path.read_text().splitlines() if line]
    assert told == [
        "[warn] 2 records could not be written: disk full?",
        "[info] there is room again",
    ]


def test_log_tail_is_read_during_a_rotation(tmp_path: Path) -> None:
    (tmp_path / "one.log.1").write_bytes(b"a\nb\n")  # the current file does not exist yet
    assert logs.read_log(tmp_path / "one.log", 1)[0] == b"b\n"


def test_record_is_one_line_with_its_fields() -> None:
    line = logs.format_line("warn", "slow\nvery", worker=1, request="", frame=None).decode()
    assert line.endswith('Z [warn] slow\n    very {"worker": 1}\n')


@pytest.mark.parametrize(("lines", "expected"), [(0, b""), (1, b"b\n"), (9, b"a\nb\n")])
def test_log_tail_has_the_given_number_of_lines(
    tmp_path: Path, lines: int, expected: bytes
) -> None:
    (tmp_path / "one.log").write_bytes(b"a\nb\n")
    assert logs.read_log(tmp_path / "one.log", lines)[0] == expected


@pytest.mark.parametrize(
    ("seconds", "lines", "first"),
    [
        (0, None, b"2026-01-02T03:04:05.000Z [info] one"),
        (1, None, b"2026-01-02T03:04:06.000Z [error] two"),
        (1, 2, b"    of more lines"),  # the stricter limit applies
        (2, None, b"2026-01-02T03:04:07.500Z [info] three"),
        (3, None, b""),
    ],
)
def test_log_tail_starts_with_the_first_record_since_a_time(
    tmp_path: Path, seconds: int, lines: int | None, first: bytes
) -> None:
    (tmp_path / "one.log").write_bytes(
        b"2026-01-02T03:04:05.000Z [info] one\n"
        b"2026-01-02T03:04:06.000Z [error] two\n    of more lines\n"
        b"2026-01-02T03:04:07.500Z [info] three\n"
    )
    since = datetime(2026, 1, 2, 3, 4, 5 + seconds, tzinfo=timezone.utc)
    text, end = logs.read_log(tmp_path / "one.log", lines, since)
    assert text.partition(b"\n")[0] == first
    assert end == (tmp_path / "one.log").stat().st_size


# --- archives ------------------------------------------------------------------------------------


def test_packed_folder_contains_the_targets_of_its_links(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "code.py").write_text("A = 1\n")
    folder = tmp_path / "one"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    (folder / "main.py").write_text("B = 2\n")
    (folder / "common").symlink_to("../shared")
    target = tmp_path / "target"
    target.mkdir()
    unpack(pack(folder), target)
    found = {path.relative_to(target).as_posix() for path in target.rglob("*.py*")}
    assert found == {"main.py", "common/code.py"}
    assert not (target / "common").is_symlink()


def test_file_of_1970_is_packed(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "main.py").write_text("A = 1\n")
    os.utime(folder / "main.py", (0, 0))  # common in containers; a zip's first year is 1980
    target = tmp_path / "target"
    target.mkdir()
    unpack(pack(folder), target)
    assert (target / "main.py").read_text() == "A = 1\n"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\evil"])
def test_archive_with_a_path_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(name, "x")
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    for data in (zipped.getvalue(), tarred.getvalue()):
        with pytest.raises(BadRequest, match="leaves its folder"):
            unpack(data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(BadRequest, match="holds a link"):
        unpack(tarred.getvalue(), tmp_path)


# --- headers and exit statuses -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [("x-some-name", "X-Some-Name"), ("CONTENT-TYPE", "Content-Type"), ("etag", "Etag")],
)
def test_header_name_is_written_as_in_go(given_name: str, expected: str) -> None:
    assert canonical(given_name) == expected


def test_header_of_log_records_is_left_out_if_it_is_too_long() -> None:
    record = {"level": "info", "message": "x" * 100, "at": 1.0, "with": ""}
    assert logs_header([record], "info", "http", 0) is not None
    assert logs_header([record], "warn", "http", 0) == "[]"
    assert logs_header([record] * 40, "info", "http", 0) is None


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with status 0"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL (out of memory?)"),
        (None, "closed its socket"),
    ],
)
def test_exit_status_of_a_worker_is_described(status: int | None, text: str) -> None:
    assert describe_exit(status) == text
