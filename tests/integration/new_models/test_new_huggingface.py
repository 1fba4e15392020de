"""``new huggingface``: what is read from a folder or a hub, and arguments that are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.runtime.cli import main
from tests.http_server import HttpRequest, Reply, http_server
from tests.integration.new_models.conftest import run_cli

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "architectures": ["RTDetrV2ForObjectDetection"],
    "id2label": {"0": "car", "1": "cup", "2": "person"},
}


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a detector. Nothing reads its weights."""
    folder = tmp_path_factory.mktemp("detector")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def spec_of(folder: Path) -> dict[str, Any]:
    """Return the document of a function file."""
    found: dict[str, Any] = yaml.safe_load((folder / "function.yaml").read_text())
    return found


def test_a_model_of_the_hub_is_pinned_to_its_commit_and_the_checksum_that_the_hub_states(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()

    def answer(request: HttpRequest) -> Reply:
        path = model / request.path.rpartition("/")[2]
        if not path.is_file():
            return Reply(status=404)
        headers = {"X-Repo-Commit": COMMIT}
        if path.suffix == ".safetensors":
            # As the hub does: a redirect to its storage, with the facts of the file.
            headers |= {"X-Linked-Etag": f'"{digest}"', "Location": "/storage"}
            return Reply(status=302, headers=headers)
        return Reply(body=path.read_bytes(), headers=headers)

    with http_server(answer) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        words = ("new", "huggingface", "hub-detector", "--model", "acme/detector")
        run_cli(*words, "--licence", "MIT", "--into", tmp_path)
    folder = tmp_path / "hub-detector"
    entries = {each["file"]: each for each in spec_of(folder)["x-cvat-lambda"]["weights"]}
    assert entries["model.safetensors"] == {
        "file": "model.safetensors",
        "url": f"{hub.url}/acme/detector/resolve/{COMMIT}/model.safetensors",
        "licence": "MIT",
        "sha256": digest,
    }
    assert entries["config.json"]["local"] == "weights/config.json"
    assert not (folder / "weights" / "model.safetensors").exists()


@pytest.mark.parametrize("place", ["hub", "folder"])
def test_a_model_without_its_network_in_one_file_is_refused_with_what_to_do(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")

    def answer(request: HttpRequest) -> Reply:
        path = model / request.path.rpartition("/")[2]
        return Reply(body=path.read_bytes()) if path.is_file() else Reply(status=404)

    with http_server(answer) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        given = "acme/detector" if place == "hub" else str(model)
        words = ["new", "huggingface", "large", "--model", given, "--into", str(tmp_path)]
        assert main(words) == 1
    assert "model.safetensors: load the model with transformers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "a,b"], "takes no texts: remove --text"),
        (["--threshold", "7"], "--threshold must be from 0 to 1"),
    ],
)
def test_arguments_that_do_not_fit_the_model_are_refused(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    command = ["new", "huggingface", "bad", "--model", str(model)]
    assert main([*command, "--into", str(tmp_path), *words]) == 1
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_an_unknown_class_needs_a_task(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["OddModel"]}))
    words = ["new", "huggingface", "bad", "--model", str(folder), "--into", str(tmp_path / "f")]
    assert main(words) == 1
    assert "name it with --task" in capsys.readouterr().err
