from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from common.fetch import FetchError, fetch, fetch_file, read_member

from tests.http_server import HttpRequest, Reply, http_server


def test_file_is_extracted_from_a_wheel_or_a_tarball(tmp_path: Path) -> None:
    wheel, tarball = tmp_path / "a.whl", tmp_path / "a.tgz"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("a/w.bin", b"one")
    with tarfile.open(tarball, "w:gz") as tarred:
        info = tarfile.TarInfo("package/w.bin")
        info.size = 3
        tarred.addfile(info, io.BytesIO(b"two"))
    assert read_member(wheel, "a/w.bin") == b"one"
    assert read_member(tarball, "package/w.bin") == b"two"


def test_a_file_with_another_checksum_is_refused_and_removed(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "w.bin"
    source.write_bytes(b"changed")
    entry = {"file": "w.bin", "url": source.as_uri(), "sha256": hashlib.sha256(b"x").hexdigest()}
    with pytest.raises(FetchError, match=r"w\.bin: SHA-256 is [0-9a-f]{64}, expected"):
        fetch_file(entry, path, tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("named", ["mine/w.bin", "mine"])
def test_a_variable_that_names_the_file_or_its_folder_has_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "w.bin").write_bytes(b"mine")
    monkeypatch.setenv("NET_PATH", str(tmp_path / named))
    entry = {"file": "w.bin", "env": "NET_PATH", "sha256": "0" * 64}
    fetch_file(entry, tmp_path / "w.bin", tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == b"mine"


def test_an_entry_without_a_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"w\.bin: the entry names no source \(pypi, npm, url\)"):
        fetch_file({"file": "w.bin", "sha256": "0" * 64}, tmp_path / "w.bin", tmp_path)


@pytest.mark.parametrize("content", [b"weights", b"changed"])
def test_a_recorded_file_is_compared_with_the_checksum_that_the_hub_states(
    tmp_path: Path, content: bytes
) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()

    def answer(request: HttpRequest) -> Reply:
        if request.path == "/storage":
            return Reply(body=content)
        return Reply(302, headers={"Location": "/storage", "X-Linked-Etag": f'"{digest}"'})

    with http_server(answer) as hub:
        entry = {"file": "w.bin", "url": f"{hub.url}/w.bin", "checksum": "recorded"}
        if content == b"changed":
            with pytest.raises(FetchError, match=f"the server states {digest}"):
                fetch_file(entry, tmp_path / "w.bin", tmp_path)
            assert not (tmp_path / "w.bin").exists()
        else:
            fetch_file(entry, tmp_path / "w.bin", tmp_path)
            assert (tmp_path / "w.bin").read_bytes() == content


def test_weights_are_fetched_and_converted(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "convert.py").write_text(
        "import pathlib, sys\n"
        "source, target = map(pathlib.Path, sys.argv[1:])\n"
        "(target / 'twice').write_bytes((source / 'w.bin').read_bytes() * 2)\n"
    )
    (tmp_path / "function.yaml").write_text(
        "x-cvat-lambda:\n"
        "  weights:\n"
        f"    - {{file: w.bin, url: '{(tmp_path / 'source').as_uri()}', sha256: {digest}}}\n"
        "  convert: {script: convert.py, version: 1}\n"
    )
    fetch(tmp_path / "function.yaml", tmp_path / "weights")
    assert (tmp_path / "weights" / "w.bin").read_bytes() == b"weights"
    assert (tmp_path / "weights" / "twice").read_bytes() == b"weightsweights"
