"""The standalone engine passes the conformance tests of the port."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.engine.conformance import LABELS, EngineConformance, Feature, Scenarios
from cvat_lambda.engine.port import Access, Engine, Frame
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.adapter import StandaloneEngine
from cvat_lambda.engine.standalone.editing import Editor
from cvat_lambda.engine.standalone.media.ingest import Ingestion, Selection
from cvat_lambda.engine.standalone.tasks import create_ground_truth_job, create_project, create_task
from tests.integration.engine.videos import grey_of, make_video, number_of


class StandaloneScenarios:
    """Creates the tasks of the conformance tests in the standalone engine."""

    features: frozenset[Feature] = frozenset({"ground_truth", "score", "video"})

    def __init__(self, people: dict[str, User], folder: Path) -> None:
        self.engine: Engine = StandaloneEngine()
        self._people = people
        self._folder = folder

    def _pictures(self, count: int) -> list[Path]:
        paths = [self._folder / f"{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            if not path.exists():
                Image.new("L", (64, 48), grey_of(number)).save(path)
        return paths

    def task(
        self,
        *,
        frames: int = 6,
        segment_size: int = 0,
        overlap: int = 0,
        start_frame: int = 0,
        step: int = 1,
        deleted: Sequence[int] = (),
        video: bool = False,
    ) -> int:
        files = (
            [make_video(self._folder / "video.mp4", frames=frames)]
            if video
            else self._pictures(frames)
        )
        selection = Selection(sorting_method="predefined", start_frame=start_frame, step=step)
        task = create_task(
            self._people["alice"],
            "scenario",
            LABELS,
            files,
            segment_size=segment_size,
            overlap=overlap,
            ingestion=Ingestion(selection=selection),
        )
        models.Data.objects.filter(task=task).update(deleted_frames=list(deleted))
        return int(task.pk)

    def project(self, tasks: int) -> tuple[int, list[int]]:
        alice = self._people["alice"]
        project = create_project(alice, "project", LABELS)
        made = [
            create_task(alice, "in it", (), self._pictures(2), project=project)
            for _ in range(tasks)
        ]
        return project.pk, [task.pk for task in made]

    def picture_of(self, frame: Frame) -> int:
        with Image.open(io.BytesIO(frame.data)) as image:
            assert image.size == (frame.width, frame.height) == (64, 48)
        return number_of(frame.data)

    def ground_truth_job(self, task_id: int, frames: Sequence[int]) -> int:
        return create_ground_truth_job(models.Task.objects.get(pk=task_id), frames).pk

    def update(self, task_id: int, data: LabeledData, *, job_id: int | None) -> None:
        task = models.Task.objects.get(pk=task_id)
        job = None if job_id is None else models.Job.objects.get(pk=job_id)
        Editor(task, job, user_id=self._people["alice"].pk).update(data)

    def assign_job(self, job_id: int, name: str) -> None:
        models.Job.objects.filter(pk=job_id).update(assignee=self._people[name])

    def access(self, name: str) -> Access:
        return StandaloneAccess(self._people[name])


class TestStandaloneEngine(EngineConformance):
    @pytest.fixture
    def scenarios(self, alice: User, bob: User, charlie: User, tmp_path: Path) -> Scenarios:
        people = {"alice": alice, "bob": bob, "charlie": charlie}
        return StandaloneScenarios(people, tmp_path)
