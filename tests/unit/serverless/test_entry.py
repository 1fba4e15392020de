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
    tree, load = definition(folder / "model.py", "load")
    assert isinstance(load, ast.FunctionDef)
    assert load.returns is not None
    for name in ast.unparse(load.returns).split(" | "):
        assert {"device", "answer"} <= members(tree, name)


def definition(module: Path, name: str) -> tuple[Path, ast.stmt]:
    """Return where a name is defined, in the module or in one of `common`, and its definition."""
    body = ast.parse(module.read_text()).body
    imported_for_types = [node for top in body if isinstance(top, ast.If) for node in top.body]
    for node in body + imported_for_types:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return definition(SERVERLESS / f"{str(node.module).replace('.', '/')}.py", name)
    raise AssertionError(f"{module} does not define {name}")


def members(module: Path, name: str) -> set[str]:
    """Return the names of the members of a class, also of those that it inherits."""
    place, found = definition(module, name)
    assert isinstance(found, ast.ClassDef)
    own = {node.name for node in found.body if isinstance(node, ast.FunctionDef)}
    own |= {ast.unparse(node.target) for node in found.body if isinstance(node, ast.AnnAssign)}
    bases = [base.id for base in found.bases if isinstance(base, ast.Name)]
    return own.union(*(members(place, base) for base in bases if base not in ("Protocol", "ABC")))
