"""``new huggingface``: functions of tiny models with random weights."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from tests.functions.environments import TEMPLATES, prepare
from tests.integration.new_models.conftest import app_of, found_by_request, picture, run_cli
from tests.integration.runtime.harness import Runtime

pytestmark = pytest.mark.models
MAKE = """
import sys
from pathlib import Path
from tests.functions.catalogue.stand_ins import huggingface as tiny
for name in ("detector", "grounding_dino", "classifier"):
    getattr(tiny, f"make_{name}")(Path(sys.argv[1]) / name)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of each tiny model."""
    folder = tmp_path_factory.mktemp("models")
    requirements = (TEMPLATES / "huggingface.txt").read_text()
    prepare(requirements, tmp_path_factory.mktemp("environment")).run("-c", MAKE, folder)
    return folder


@pytest.fixture(scope="module")
def functions(models: Path, served: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A runtime with a function for each model; the text detector has two texts."""
    folder = tmp_path_factory.mktemp("functions")
    new = ("new", "huggingface")
    run_cli(*new, "hf-detector", "--model", models / "detector", "--into", folder)
    run_cli(*new, "hf-classifier", "--model", models / "classifier", "--into", folder)
    run_cli(
        *(*new, "hf-texts", "--model", models / "grounding_dino", "--into", folder),
        *("--text", "red car,cat", "--threshold", "0"),
    )
    run_cli("deploy", folder, "--url", served.url)
    return served


def items_of(runtime: Runtime, name: str, **body: Any) -> Any:
    """Call a function with an image and return its answer."""
    answer = runtime.call(name, {"image": picture(64, 48), **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_labels_come_from_the_configuration_of_the_model(functions: Runtime) -> None:
    annotations = functions.function("hf-detector")["metadata"]["annotations"]
    labels = [(label["name"], label["type"]) for label in json.loads(annotations["spec"])]
    assert labels == [(name, "rectangle") for name in ("car", "cup", "person")]
    found = items_of(functions, "hf-detector", threshold=0)
    assert found
    assert {item["label"] for item in found} <= {name for name, _ in labels}


def test_a_classifier_answers_tags(functions: Runtime) -> None:
    found = items_of(functions, "hf-classifier", threshold=0)
    assert found
    assert {item["type"] for item in found} == {"tag"}


def test_texts_of_the_function_are_its_labels_and_a_call_may_carry_others(
    functions: Runtime,
) -> None:
    annotations = functions.function("hf-texts")["metadata"]["annotations"]
    assert annotations["prompts"] == "text"
    assert [label["name"] for label in json.loads(annotations["spec"])] == ["red car", "cat"]
    assert {item["label"] for item in items_of(functions, "hf-texts")} <= {"red car", "cat"}
    other = items_of(functions, "hf-texts", text=["dog"])
    assert other
    assert {item["label"] for item in other} == {"dog"}


@pytest.mark.parametrize("model", ["detector", "grounding_dino"])
def test_threads_that_share_a_model_answer_as_calls_one_after_the_other(
    models: Path, served: Runtime, tmp_path: Path, model: str
) -> None:
    name = f"hf-threads-{model.replace('_', '-')}"
    words = ("--model", models / model, "--into", tmp_path, "--threshold", "0")
    run_cli("new", "huggingface", name, *words)
    file = tmp_path / name / "function.yaml"
    document = yaml.safe_load(file.read_text())
    document["x-cvat-lambda"]["workers"] = "threads"
    document["spec"]["triggers"]["http"].update(numWorkers=4, maxWorkers=4)
    file.write_text(yaml.safe_dump(document))
    run_cli("deploy", tmp_path, "--url", served.url)
    # Texts of different lengths: a tokenizer pads each call's texts in its own way.
    texts = (["dog"], ["a red car", "cat"], ["a very long text about a tree", "sea", "b"])
    bodies = [
        {"image": picture(64, 48, 20 * number)}
        | ({"text": texts[number % 3]} if model == "grounding_dino" else {})
        for number in range(12)
    ]
    alone = [items_of(served, name, **body) for body in bodies]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda body: items_of(served, name, **body), bodies))
    assert all(alone)
    assert together == alone


def test_a_request_with_a_text_writes_shapes_of_the_mapped_label(
    functions: Runtime, transactional_db: None, clean_redis: str, settings: Settings, alice: User,
    tmp_path: Path,
) -> None:  # fmt: skip
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "0.png")
    options = {"text": ["dog"], "mapping": {"dog": {"name": "animal"}}, "threshold": 0.0}
    with app_of(functions, settings):
        assert found_by_request(alice, "hf-texts", ["animal"], [tmp_path / "0.png"], **options)
