"""Export and import through the real SDK and CLI of CVAT."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cvat_sdk import make_client
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.models import AccessToken, LabeledShape, Task
from cvat_lambda.engine.standalone.tasks import create_task
from tests.e2e.conftest import Server


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> Task:
    """A task of one frame with one box."""
    path = tmp_path / "street.png"
    Image.new("RGB", (32, 24)).save(path)
    made = create_task(alice, "Street", [{"name": "car"}], [path])
    engine = get_engine()
    (label,) = engine.task(made.pk).labels
    box = Shape(type="rectangle", frame=0, label_id=label.id or 0, points=(1, 2, 11, 22))
    with engine.atomic():
        engine.apply(Change(task_id=made.pk, frames=(0,), add=LabeledData(shapes=(box,))))
    return made


def test_sdk_exports_a_dataset_and_imports_it_again(
    server: Server, alice: User, task: Task, tmp_path: Path
) -> None:
    host, _, port = server.url.rpartition(":")
    with make_client(host, port=int(port), credentials=("alice", "alice-secret")) as client:
        client.config.status_check_period = 1
        found = client.tasks.retrieve(task.pk)
        path = tmp_path / "coco.zip"
        found.export_dataset("COCO 1.0", path, include_images=True)
        with zipfile.ZipFile(path) as archive:
            assert "images/default/street.png" in archive.namelist()
            document = json.loads(archive.read("annotations/instances_default.json"))
        assert [item["bbox"] for item in document["annotations"]] == [[1, 2, 10, 20]]
        found.remove_annotations()
        found.import_annotations("COCO 1.0", path)
        (shape,) = found.get_annotations().shapes
        assert shape.points == [1, 2, 11, 22]


def test_sdk_exports_a_job_and_imports_it_again(
    server: Server, alice: User, task: Task, tmp_path: Path
) -> None:
    host, _, port = server.url.rpartition(":")
    with make_client(host, port=int(port), credentials=("alice", "alice-secret")) as client:
        client.config.status_check_period = 1
        (job,) = client.tasks.retrieve(task.pk).get_jobs()
        path = tmp_path / "job.zip"
        job.export_dataset("COCO 1.0", path, include_images=False)
        job.remove_annotations()
        job.import_annotations("COCO 1.0", path)
        (shape,) = job.get_annotations().shapes
        assert shape.points == [1, 2, 11, 22]


@pytest.fixture
def cli(server: Server, alice: User, tmp_path: Path) -> Callable[..., None]:
    """Return a function that runs ``cvat-cli`` as alice."""
    _, token = AccessToken.create(alice, name="cli")
    host, _, port = server.url.rpartition(":")
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    program = [str(Path(sys.executable).parent / "cvat-cli")]
    program += ["--server-host", host, "--server-port", port]

    def run(*arguments: str) -> None:
        environment = {**home, "CVAT_ACCESS_TOKEN": token}
        subprocess.run([*program, *arguments], check=True, env=environment, capture_output=True)

    return run


def test_cli_exports_a_dataset(cli: Callable[..., None], task: Task, tmp_path: Path) -> None:
    path = tmp_path / "street.zip"
    cli("task", "export-dataset", "--format", "CVAT for images 1.1", str(task.pk), str(path))
    with zipfile.ZipFile(path) as archive:
        assert b'xtl="1.00"' in archive.read("annotations.xml")


def test_cli_imports_the_dataset_that_it_exported(
    cli: Callable[..., None], task: Task, tmp_path: Path
) -> None:
    path = tmp_path / "street.zip"
    cli("task", "export-dataset", "--format", "COCO 1.0", str(task.pk), str(path))
    LabeledShape.objects.all().delete()
    cli("task", "import-dataset", "--format", "COCO 1.0", str(task.pk), str(path))
    (shape,) = get_engine().annotations(task.pk).shapes
    assert (shape.points, shape.source) == ((1, 2, 11, 22), "file")
