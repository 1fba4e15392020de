from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task

LABELS: list[dict[str, Any]] = [
    {
        "name": "car",
        "attributes": [
            {"name": "age", "mutable": True, "input_type": "number", "values": ["0", "9", "1"]}
        ],
    },
    {"name": "person", "type": "skeleton", "sublabels": [{"name": "head", "type": "points"}]},
]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        Image.new("RGB", (32, 24), (30 * number, 0, 0)).save(path)
    return paths


@pytest.fixture
def task(alice: User, pictures: list[Path]) -> models.Task:
    """A task of alice with two jobs and the labels `LABELS`."""
    return create_task(alice, "task", LABELS, pictures, segment_size=3)


@pytest.fixture
def jobs(task: models.Task) -> list[models.Job]:
    return list(models.Job.objects.filter(segment__task=task).order_by("pk"))


@pytest.fixture
def car(task: models.Task) -> models.Label:
    return models.Label.objects.get(task=task, name="car")


@pytest.fixture(autouse=True)
def static_root(settings: Settings, tmp_path: Path) -> None:
    """An empty folder of static files. Without it WhiteNoise warns."""
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
