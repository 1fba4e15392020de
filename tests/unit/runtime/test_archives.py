from __future__ import annotations

import io
import zipfile
from pathlib import Path

from cvat_lambda.runtime.deploy import archives


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
