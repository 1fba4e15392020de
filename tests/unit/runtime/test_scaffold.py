"""The functions that ``new`` writes from templates: what they do with the numbers of a call."""

from __future__ import annotations

import base64
import importlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from cvat_lambda.runtime.scaffold import new_function

Call = Callable[[dict[str, Any]], tuple[int, Any]]
BOX = {"type": "rectangle", "points": [10, 10, 30, 30]}
NEAR_BOX = {"type": "rectangle", "points": [14, 10, 34, 30]}


def picture() -> str:
    """Return a dark picture with a bright square, in base64."""
    image = Image.new("RGB", (64, 64), (20, 20, 20))
    image.paste((240, 240, 240), (10, 10, 30, 30))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


BODIES: dict[str, dict[str, Any]] = {
    "detector": {"image": picture()},
    "reid": {"image0": picture(), "image1": picture(), "boxes0": [BOX], "boxes1": [NEAR_BOX]},
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Call]:
    """Return a function that writes a function of a kind, loads it, and returns its handler."""

    def load(kind: str) -> Call:
        monkeypatch.syspath_prepend(str(new_function(kind, f"my-{kind}", tmp_path)))
        for name in ("main", "model"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        main: Any = importlib.import_module("main")
        for name in ("main", "model"):
            monkeypatch.delitem(sys.modules, name)
        context = SimpleNamespace(
            user_data=SimpleNamespace(),
            logger=SimpleNamespace(info=lambda text: None),
            Response=SimpleNamespace,
        )
        main.init_context(context)

        def call(body: dict[str, Any]) -> tuple[int, Any]:
            response = main.handler(context, SimpleNamespace(body=body))
            return response.status_code, json.loads(response.body)

        return call

    return load


@pytest.mark.parametrize(
    ("kind", "name", "default", "other"),
    [
        ("detector", "threshold", 0.5, 1),
        ("reid", "threshold", 0.5, 0),
        ("reid", "max_distance", 50, 3),
    ],
)
def test_missing_and_null_number_of_a_call_are_the_default(
    load: Callable[[str], Call], kind: str, name: str, default: float, other: float
) -> None:
    call, body = load(kind), BODIES[kind]
    expected = call({**body, name: default})
    assert expected[0] == 200
    assert call(body) == expected
    assert call({**body, name: None}) == expected
    assert call({**body, name: other}) != expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [("detector", "threshold"), ("reid", "threshold"), ("reid", "max_distance")],
)
@pytest.mark.parametrize("value", ["0.5", [], True])
def test_number_of_a_call_of_another_type_is_answered_with_400(
    load: Callable[[str], Call], kind: str, name: str, value: object
) -> None:
    answer = load(kind)({**BODIES[kind], name: value})
    assert answer == (400, {"error": f"'{name}' is not a number"})
