from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from cvat_lambda.runtime.deploy.revision import revision_of
from cvat_lambda.runtime.spec.function_file import parse_function, read_document
from tests.integration.runtime.harness import write_function


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_function(tmp_path / "a", "one", "def handler(context, event): pass\n")
    (folder / "model.onnx").write_bytes(b"weights")
    return folder


def revision(folder: Path, environment: str = "e", weights: str = "w") -> str:
    config = parse_function(read_document(folder / "function.yaml"), folder)
    return revision_of(config, environment, weights)


def edit(folder: Path, part: str, key: str, value: object) -> None:
    file = folder / "function.yaml"
    document = yaml.safe_load(file.read_text())
    document[part][key] = value
    file.write_text(yaml.safe_dump(document))


def test_revision_is_equal_for_equal_content_in_another_folder(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "b" / "copy")
    (tmp_path / "b" / "copy" / "__pycache__").mkdir()
    (tmp_path / "b" / "copy" / "__pycache__" / "main.pyc").write_bytes(b"compiled")
    assert revision(folder) == revision(tmp_path / "b" / "copy")


@pytest.mark.parametrize("name", ["main.py", "model.onnx", "more/new.txt"])
def test_revision_differs_after_a_change_of_a_file(folder: Path, name: str) -> None:
    before = revision(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"changed")
    assert revision(folder) != before


def test_revision_differs_after_a_file_is_renamed(folder: Path) -> None:
    before = revision(folder)
    (folder / "model.onnx").rename(folder / "other.onnx")
    assert revision(folder) != before


def test_revision_differs_for_another_environment_or_other_weights(folder: Path) -> None:
    assert (
        len({revision(folder), revision(folder, environment="x"), revision(folder, weights="x")})
        == 3
    )


@pytest.mark.parametrize(
    ("part", "key", "value", "changes"),
    [
        ("metadata", "annotations", {"type": "detector", "spec": "[]"}, True),
        ("spec", "env", [{"name": "THRESHOLD", "value": "0.7"}], True),
        (
            "metadata",
            "labels",
            {"nuclio.io/project-name": "other"},
            False,
        ),  # only where it is listed
        ("spec", "build", {"path": "/elsewhere"}, False),  # only the source of the code
        ("metadata", "annotations", {"type": "detector", "cvat-lambda/revision": "old"}, False),
    ],
)
def test_revision_differs_after_a_relevant_change_of_the_function_file(
    folder: Path, part: str, key: str, value: object, changes: bool
) -> None:
    before = revision(folder)
    edit(folder, part, key, value)
    assert (revision(folder) != before) is changes
