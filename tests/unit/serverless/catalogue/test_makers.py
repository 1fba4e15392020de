"""The makers of the catalogue's fixtures: each file has one, and differences are reported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.functions.catalogue import makers
from tests.functions.catalogue.makers.__main__ import MAKERS, differences
from tests.functions.catalogue.recipes import DATA, fixture

FOLDER = Path(str(makers.__file__)).parent


def test_every_fixture_has_an_existing_maker() -> None:
    assert sorted(f"{name}.outputs.json" for name in MAKERS) == sorted(
        path.name for path in DATA.glob("*.outputs.json")
    )
    for modules in MAKERS.values():
        assert all((FOLDER / f"{module}.py").is_file() for module in modules)


@pytest.mark.parametrize("name", MAKERS)
def test_members_that_a_maker_returns_are_those_of_its_fixture(name: str) -> None:
    """The source of ``make`` is parsed, because the reference package is not installed."""
    tree = ast.parse((FOLDER / f"{MAKERS[name][-1]}.py").read_text("utf-8"))
    [make] = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "make"
    ]
    [made] = [node.value for node in ast.walk(make) if isinstance(node, ast.Return)]
    assert isinstance(made, ast.Dict)
    keys = {ast.literal_eval(key) for key in made.keys if key is not None}
    if None in made.keys:  # a pose's own members are unpacked into it
        keys |= {"box", "input", "keypoints", "scores"}
    assert keys == set(fixture(f"{name}.outputs.json"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, {"a": 0.5}),
        ({"a": {"b": [[1], [3]]}}, {"a": {"b": [[1], [1]]}}, {"a.b": 2}),
        ({"a": "x", "b": None}, {"a": "x", "b": None}, {"a": 0, "b": 0}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": float("inf")}),  # lengths
        ({"a": 1}, {}, {"a": float("inf")}),  # a member that is missing
        ({"a": True}, {"a": 1.5}, {"a": float("inf")}),  # no number
    ],
)
def test_differences_are_reported_by_member(
    first: object, second: object, expected: dict[str, float]
) -> None:
    largest: dict[str, float] = {}
    for where, distance in differences(first, second):
        largest[where] = max(distance, largest.get(where, 0))
    assert largest == expected
