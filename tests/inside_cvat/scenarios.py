"""Creates tasks in CVAT through its API, for the tests inside CVAT."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cvat.apps.engine import models
from django.test import RequestFactory
from PIL import Image
from rest_framework.request import Request
from rest_framework.test import APIClient

from cvat_lambda.annotations.serialize import labeled_data_to_json
from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.engine.conformance import LABELS, Feature
from cvat_lambda.engine.cvat.adapter import CvatEngine
from cvat_lambda.engine.cvat.compat import HAS_SCORE
from cvat_lambda.engine.port import Access, Engine, Frame
from tests.integration.engine.videos import grey_of, make_video, number_of

SIZE = (64, 48)


def label_to_json(label: Any) -> dict[str, Any]:
    """A label in the format of CVAT's API."""
    found: dict[str, Any] = {
        "name": label.name,
        "type": label.type,
        "attributes": [
            {
                "name": item.name,
                "input_type": item.input_type,
                "mutable": item.mutable,
                "values": list(item.values),
                "default_value": item.default,
            }
            for item in label.attributes
        ],
    }
    if label.sublabels:
        found["sublabels"] = [label_to_json(item) for item in label.sublabels]
        found["svg"] = "".join(
            f'<circle r="1" cx="{place + 1}" cy="{place + 1}" data-type="element node"'
            f' data-element-id="{place + 1}" data-node-id="{place + 1}"'
            f' data-label-name="{item.name}"></circle>'
            for place, item in enumerate(label.sublabels)
        )
    return found


class CvatScenarios:
    """The scenarios of the conformance suite in a CVAT server."""

    def __init__(self, people: dict[str, Any], folder: Path) -> None:
        self.engine: Engine = CvatEngine()
        kept: set[Feature] = {"ground_truth", "video"}
        self.features: frozenset[Feature] = frozenset(kept | {"score"} if HAS_SCORE else kept)
        self.people = people
        self._folder = folder
        self._client = APIClient()
        self._client.force_login(people["alice"])

    def pictures(self, count: int) -> list[Path]:
        """Images with different levels of grey."""
        paths = [self._folder / f"{number:03}.png" for number in range(count)]
        for number, path in enumerate(paths):
            if not path.exists():
                Image.new("L", SIZE, grey_of(number)).save(path)
        return paths

    def send(self, method: str, path: str, body: Any = None, *, form: bool = False) -> Any:
        """Send an HTTP request of alice to CVAT's API. Return the body of a successful answer."""
        answer = self.try_to_send(method, path, body, form=form)
        assert answer.status_code < 300, (path, answer.status_code, answer.content[:2000])
        return answer.json() if answer.content else None

    def try_to_send(self, method: str, path: str, body: Any = None, *, form: bool = False) -> Any:
        """Send an HTTP request of alice to CVAT's API. Return any answer."""
        return getattr(self._client, method)(path, body, format="multipart" if form else "json")

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
        files: Sequence[Path] | None = None,
        project_id: int | None = None,
        spec: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> int:
        """Create a task of alice."""
        made: dict[str, Any] = {"name": "scenario", "segment_size": segment_size, **(spec or {})}
        if overlap:
            made["overlap"] = overlap
        if project_id is not None:
            made["project_id"] = project_id
        else:
            made["labels"] = [label_to_json(label) for label in LABELS]
        task_id = int(self.send("post", "/api/tasks", made)["id"])
        if files is None:
            files = (
                [make_video(self._folder / "video.mp4", frames=frames)]
                if video
                else self.pictures(frames)
            )
        self._upload(task_id, files, start_frame, step, data or {})
        if deleted:
            self.send("patch", f"/api/tasks/{task_id}/data/meta", {"deleted_frames": list(deleted)})
        return task_id

    def _upload(
        self, task_id: int, files: Sequence[Path], start: int, step: int, more: dict[str, Any]
    ) -> None:
        body: dict[str, Any] = {"image_quality": 70, "use_cache": True, **more}
        if start:
            body["start_frame"] = start
        if step > 1:
            body["frame_filter"] = f"step={step}"
        with ExitStack() as stack:
            for place, path in enumerate(files):
                body[f"client_files[{place}]"] = stack.enter_context(path.open("rb"))
            rq_id = self.send("post", f"/api/tasks/{task_id}/data", body, form=True)["rq_id"]
        state = self.send("get", f"/api/requests/{rq_id}")
        assert state["status"] == "finished", state

    def project(self, tasks: int) -> tuple[int, list[int]]:
        labels = [label_to_json(label) for label in LABELS]
        project_id = int(
            self.send("post", "/api/projects", {"name": "project", "labels": labels})["id"]
        )
        return project_id, [self.task(frames=2, project_id=project_id) for _ in range(tasks)]

    def picture_of(self, frame: Frame) -> int:
        with Image.open(io.BytesIO(frame.data)) as image:
            assert image.size == SIZE
            if frame.width is not None:
                assert (frame.width, frame.height) == SIZE
        return number_of(frame.data)

    def ground_truth_job(self, task_id: int, frames: Sequence[int]) -> int:
        body = {
            "task_id": task_id,
            "type": "ground_truth",
            "frame_selection_method": "manual",
            "frames": list(frames),
        }
        return int(self.send("post", "/api/jobs", body)["id"])

    def update(self, task_id: int, data: LabeledData, *, job_id: int | None) -> None:
        """Update annotations by CVAT's own API, which keeps their ids."""
        owner = f"tasks/{task_id}" if job_id is None else f"jobs/{job_id}"
        self.send("patch", f"/api/{owner}/annotations?action=update", labeled_data_to_json(data))

    def assign_job(self, job_id: int, name: str) -> None:
        models.Job.objects.filter(pk=job_id).update(assignee=self.people[name])

    def access(self, name: str) -> Access:
        return self.engine.access(self.request_of(name))

    def request_of(self, name: str, *, organization: Any = None) -> Request:
        """An HTTP request of a user, with the attributes that CVAT's middleware sets."""
        user = self.people[name]
        http = RequestFactory().get("/api/lambda/requests")
        http.user = user
        http.uuid = "00000000-0000-0000-0000-000000000000"  # type: ignore[attr-defined]
        http.iam_context = {  # type: ignore[attr-defined]
            "organization": organization,
            "privilege": "admin" if user.is_superuser else "user",
        }
        request = Request(http)
        request.user = user
        request.parser_context = {"view": None}
        return request
