from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from common.errors import WeightsMissing
from common.weights import checksum, weights_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights with one file."""
    monkeypatch.setenv("CVAT_LAMBDA_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("MODEL_PATH", raising=False)
    (tmp_path / "net.xml").write_bytes(b"net")
    return tmp_path


def test_a_file_of_the_weights_folder_is_found(folder: Path) -> None:
    assert (
        weights_file("net.xml") == weights_file("net.xml", env="MODEL_PATH") == folder / "net.xml"
    )


@pytest.mark.parametrize("named", ["mine/other.xml", "mine"])
def test_weights_file_is_found_with_a_variable_that_names_it_or_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (folder / "mine").mkdir()
    for name in ("net.xml", "other.xml"):
        (folder / "mine" / name).touch()
    monkeypatch.setenv("MODEL_PATH", str(folder / named))
    expected = folder / "mine" / ("net.xml" if named == "mine" else "other.xml")
    assert weights_file("net.xml", env="MODEL_PATH") == expected


@pytest.mark.parametrize("named", [None, "gone.xml", "empty"])
def test_missing_file_raises_an_error_with_its_expected_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    (folder / "empty").mkdir()
    (folder / "net.xml").unlink()
    if named is not None:
        monkeypatch.setenv("MODEL_PATH", str(folder / named))
    looked_for = {None: "net.xml", "gone.xml": "gone.xml", "empty": "empty/net.xml"}[named]
    with pytest.raises(
        WeightsMissing, match=f"'net.xml' is not at .*/{looked_for}; set .* MODEL_P"
    ):
        weights_file("net.xml", env="MODEL_PATH")


def test_a_checksum_is_the_sha_256_of_the_content(folder: Path) -> None:
    (folder / "big").write_bytes(bytes(3_000_000))
    assert checksum(folder / "big") == hashlib.sha256(bytes(3_000_000)).hexdigest()
