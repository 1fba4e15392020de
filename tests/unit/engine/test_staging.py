"""Uploads in parts: received bytes are kept, and invalid parts are refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from cvat_lambda.engine.standalone.staging import Staging, base_name
from cvat_lambda.errors import InvalidRequest, NotFound, PayloadTooLarge, StateConflict
from tests.audit_hooks import OBSTACLE, add_hook

_listings: list[str] = []


def _count_listings(event: str, arguments: tuple[Any, ...]) -> None:
    # Imports list folders, too.
    if event in ("os.scandir", "os.listdir") and "uploads" in str(arguments[0]):
        _listings.append(event)


add_hook(_count_listings)


def contents(staging: Staging) -> dict[str, bytes]:
    return {file.name: file.path.read_bytes() for file in staging.files()}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("/home/alice/a.jpg", "a.jpg"),
        ("C:\\pictures\\a.jpg", "a.jpg"),
        ("../../a.jpg", "a.jpg"),
        ("bild ä.jpg", "bild ä.jpg"),
    ],
)
def test_name_is_kept_without_folders(path: str, name: str) -> None:
    assert base_name(path) == name


@pytest.mark.parametrize("path", ["", "/", "..", "a/..", "a\x00.jpg", "x" * 256])
def test_unusable_file_name_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        base_name(path)


def test_file_that_is_sent_again_is_stored_once_in_order() -> None:
    staging = Staging(1)
    for name, data in (("b", b"1"), ("a", b"2"), ("b", b"1")):
        staging.add(name, [data])
    assert contents(staging) == {"a": b"2", "b": b"1"}
    assert [file.name for file in staging.ordered(["b", "x/a"])] == ["b", "a"]
    with pytest.raises(InvalidRequest, match="each uploaded file once"):
        staging.ordered(["b"])
    staging.clear()
    assert contents(staging) == {}


@pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE)
def test_staging_folder_is_listed_once_for_all_files() -> None:
    """With a listing per file, the time of an upload grew with the square of its files."""
    listings = []
    for task_id, files in ((21, 3), (22, 30)):
        staging = Staging(task_id)
        before = len(_listings)
        for number in range(files):
            staging.add(f"{number}.jpg", [b"%d" % number])
        listings.append(len(_listings) - before)
    assert listings[0] == listings[1]


def test_another_file_of_the_same_name_is_kept() -> None:
    staging = Staging(8)
    staging.add("one/a.jpg", [b"1"])
    staging.add("two/a.jpg", [b"2"])
    assert [(file.name, file.path.read_bytes()) for file in staging.files()] == [
        ("a.jpg", b"1"),
        ("a.jpg", b"2"),
    ]
    with pytest.raises(InvalidRequest, match=r"'a\.jpg' occurs twice"):
        staging.ordered(["a.jpg"])


def test_interrupted_file_leaves_nothing() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the connection is gone")

    staging = Staging(9)
    with pytest.raises(OSError, match="gone"):
        staging.add("a.jpg", broken())
    assert (contents(staging), staging.size_bytes()) == ({}, 0)


def test_files_may_be_uploaded_in_parallel() -> None:
    """One upload lists the folder while another one renames files in it."""
    names = [f"{number}.jpg" for number in range(60)]

    def send(place: int) -> None:
        for name in names[place::6]:
            Staging(10).add(name, [name.encode()])
            key = Staging(10).begin(f"tus-{name}", 3)
            Staging(10).append(key, 0, io.BytesIO(b"abc"), 3)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(send, range(6)))
    expected = {name: name.encode() for name in names}
    assert contents(Staging(10)) == expected | {f"tus-{name}": b"abc" for name in names}


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(pieces=st.lists(st.binary(max_size=40), max_size=6))
def test_file_of_a_resumable_upload_has_the_bytes_of_its_parts(pieces: list[bytes]) -> None:
    staging = Staging(2)
    staging.clear()
    whole = b"".join(pieces)
    key = staging.begin("a.bin", len(whole))
    offset = 0
    for piece in pieces:
        offset = staging.append(key, offset, io.BytesIO(piece), len(piece))
    assert staging.progress(key) == (len(whole), len(whole))
    assert contents(staging) == {"a.bin": whole}


def test_broken_connection_keeps_the_received_bytes() -> None:
    staging = Staging(3)
    key = staging.begin("a.bin", 10)
    assert staging.append(key, 0, io.BytesIO(b"abc"), 8) == 3  # 8 bytes were announced, 3 arrive
    assert staging.progress(key) == (3, 10)
    assert contents(staging) == {}
    with pytest.raises(StateConflict) as caught:
        staging.append(key, 8, io.BytesIO(b"ij"), 2)
    assert caught.value.details == {"upload_offset": 3}
    assert staging.append(key, 3, io.BytesIO(b"defghij"), 7) == 10
    assert contents(staging) == {"a.bin": b"abcdefghij"}


def test_empty_part_after_the_last_one_does_not_change_the_file() -> None:
    staging = Staging(7)
    key = staging.begin("a.bin", 1)
    staging.append(key, 0, io.BytesIO(b"a"), 1)
    assert staging.append(key, 1, io.BytesIO(b""), 0) == 1
    assert contents(staging) == {"a.bin": b"a"}


def test_part_beyond_the_announced_length_is_refused() -> None:
    staging = Staging(4)
    key = staging.begin("a.bin", 2)
    with pytest.raises(InvalidRequest, match="announced length of the file is 2 bytes"):
        staging.append(key, 0, io.BytesIO(b"abc"), 3)


@pytest.mark.parametrize("key", ["0" * 32, "../secret", ""])
def test_unknown_upload_is_not_found(key: str) -> None:
    with pytest.raises(NotFound):
        Staging(5).progress(key)


def test_upload_over_the_limit_of_the_server_is_refused(settings: Settings) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_UPLOAD_BYTES = 10
    staging = Staging(6)
    staging.add("a", [b"12345678"])
    with pytest.raises(PayloadTooLarge):
        staging.begin("b", 100)
    with pytest.raises(PayloadTooLarge):
        staging.add("c", [b"12345678", b"9", b"0"])
