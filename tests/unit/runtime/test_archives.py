from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from cvat_lambda.runtime.deploy import archives
from cvat_lambda.runtime.errors import BadRequest, RuntimeFault


def make(tmp_path: Path) -> Path:
    shared = tmp_path / "common"
    shared.mkdir()
    (shared / "boxes.py").write_text("BOXES = 1\n")
    folder = tmp_path / "function"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "main.pyc").write_bytes(b"x")
    (folder / "main.py").write_text("import common.boxes\n")
    (folder / "common").symlink_to(shared)
    (folder / "gone").symlink_to(tmp_path / "nothing")
    (folder / "again").symlink_to(folder)  # a link to the folder itself
    return folder


def names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def test_copy_of_a_folder_with_a_link_to_itself_leaves_the_link_out(tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    archives.copy_folder(make(tmp_path), target)
    assert names(target) == ["common/boxes.py", "main.py"]
    (tmp_path / "common" / "boxes.py").write_text("BOXES = 2\n")
    assert (target / "common" / "boxes.py").read_text() == "BOXES = 1\n"


def test_archive_of_a_folder_with_a_link_to_itself_leaves_the_link_out(tmp_path: Path) -> None:
    packed = zipfile.ZipFile(io.BytesIO(archives.pack(make(tmp_path))))
    assert sorted(packed.namelist()) == ["common/boxes.py", "main.py"]


def test_copy_of_a_folder_hardlinks_large_files_but_not_code(tmp_path: Path) -> None:
    folder, target = tmp_path / "function", tmp_path / "copy"
    folder.mkdir()
    target.mkdir()
    for name in ("weights.bin", "generated.py"):
        with (folder / name).open("wb") as file:
            file.truncate(archives.HARDLINK_FROM)
    archives.copy_folder(folder, target)
    same = [(folder / name).samefile(target / name) for name in ("weights.bin", "generated.py")]
    assert same == [True, False]  # code is copied whatever its size
    (folder / "weights.bin").unlink()
    assert (target / "weights.bin").stat().st_size == archives.HARDLINK_FROM


def zipped(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return buffer.getvalue()


def tarred(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zip_link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("model")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def tar_entry(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    "data",
    [
        zipped((zipfile.ZipInfo("models/"), b""), (zipfile.ZipInfo("models/main.py"), b"x = 1")),
        tarred(
            (tar_entry("models", tarfile.DIRTYPE), b""),
            (tar_entry("models/main.py", tarfile.REGTYPE), b"x = 1"),
        ),
        tarred((tar_entry("models/main.py", tarfile.REGTYPE), b"x = 1")),
    ],
    ids=["zip", "tar", "tar without folders"],
)
def test_archive_is_unpacked_with_its_folders(tmp_path: Path, data: bytes) -> None:
    archives.unpack(data, tmp_path)
    assert (tmp_path / "models" / "main.py").read_bytes() == b"x = 1"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"no archive", "is not a zip or tar that can be read"),
        (zipped((zip_link(), b"/etc/passwd")), "holds a link \\(model\\): dereference it"),
        (tarred((tar_entry("model", tarfile.SYMTYPE), b"")), "holds a link \\(model\\)"),
        (zipped((zipfile.ZipInfo("../main.py"), b"")), "a path that leaves its folder"),
        (tarred((tar_entry("a\\b", tarfile.REGTYPE), b"")), "a path that leaves its folder"),
    ],
)
def test_archive_with_links_or_paths_out_of_its_folder_is_refused(
    tmp_path: Path, data: bytes, sentence: str
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        archives.unpack(data, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("most_entries", "most_bytes"), [(1, 100), (10, 9)])
def test_archive_that_is_too_large_when_unpacked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_entries: int, most_bytes: int
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", most_entries)
    monkeypatch.setattr(archives, "MAX_UNPACKED", most_bytes)
    entries = [(zipfile.ZipInfo(name), b"x = 1") for name in ("a.py", "b.py")]
    with pytest.raises(BadRequest, match="too large: 2 files, 10 bytes unpacked"):
        archives.unpack(zipped(*entries), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_with_a_file_that_cannot_be_read_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("x = 1")
    (tmp_path / "socket").symlink_to("/proc/self/mem")  # every read of it fails
    with pytest.raises(RuntimeFault, match="cannot be packed"):
        archives.pack(tmp_path)
