"""Every function has the same entry points, and a model that they can load."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SERVERLESS = Path(__file__).resolve().parents[3] / "serverless"
FOLDERS = sorted(path.parent for path in SERVERLESS.glob("*/*/*/function.yaml"))
# The functions on transformers share one `load`. Their classes have the type of its result: mypy
# checks that they have device and answer.
SHARED_LOAD = "from common.huggingface.loading import load\n"
SHARING = [folder for folder in FOLDERS if SHARED_LOAD in (folder / "model.py").read_text()]
OWN = [folder for folder in FOLDERS if folder not in SHARING]


def test_all_folders_have_the_same_main() -> None:
    assert len({(folder / "main.py").read_text() for folder in FOLDERS}) == 1


def test_functions_that_share_a_load_have_the_same_model_file() -> None:
    assert len({(folder / "model.py").read_text() for folder in SHARING}) == 1


@pytest.mark.parametrize("folder", OWN, ids=[folder.name for folder in OWN])
def test_a_model_has_load_and_its_class_has_device_and_answer(folder: Path) -> None:
    tree = ast.parse((folder / "model.py").read_text())
    [load] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "load"]
    assert isinstance(load.returns, ast.Name)
    [model] = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == load.returns.id]
    methods = {n.name for n in model.body if isinstance(n, ast.FunctionDef)}
    assert {"device", "answer"} <= methods
