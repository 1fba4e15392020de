"""What a user does with cvat-sdk and cvat-cli, in the environment of one of their versions.

``python scenario.py URL`` reads the variables CLIENT_USER, CLIENT_PASSWORD, CLIENT_TOKEN and
CLIENT_WITHOUT, the names of steps to leave out, and prints a line for each step. The server has the
functions `finder`, which answers one rectangle of `car` for each frame, and `slow`, the same after
a second. A step that fails raises an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models
from cvat_sdk.api_client import exceptions
from cvat_sdk.core.client import AccessTokenCredentials, Client, Config, PasswordCredentials
from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction
from cvat_sdk.core.proxies.tasks import ResourceType
from cvat_sdk.version import VERSION
from PIL import Image

FRAMES = 12
BOX = [1.0, 2.0, 30.0, 20.0]  # what the functions answer
FUNCTION = """
import cvat_sdk.auto_annotation as cvataa

spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

def detect(context, image):
    return [cvataa.rectangle(0, [3, 3, image.width - 3, image.height - 3])]
"""
ENDED = ("finished", "failed", "cancelled")


class Detector:
    """A function that runs in this process."""

    spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """Return one rectangle."""
        return [cvataa.rectangle(0, [2.0, 2.0, image.width - 2.0, image.height - 2.0])]


class Scenario:
    """The steps, in their order."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.user, self.password = os.environ["CLIENT_USER"], os.environ["CLIENT_PASSWORD"]
        self.token = os.environ["CLIENT_TOKEN"]
        self.client = Client(url, config=Config(status_check_period=0.2))
        self.task: Any = None

    @property
    def lambda_api(self) -> Any:
        """The SDK's methods of the lambda API."""
        return self.client.api_client.lambda_api

    def log_in(self) -> str:
        """Log in with a password and with a personal token."""
        self.client.login(PasswordCredentials(self.user, self.password))
        assert self.client.users.retrieve_current_user().username == self.user
        with Client(self.url) as other:
            other.login(AccessTokenCredentials(self.token))
            assert other.users.retrieve_current_user().username == self.user
        with Client(self.url) as stranger:
            wrong = PasswordCredentials(self.user, "wrong")
            assert self._refused(lambda: stranger.login(wrong)) == 400
        return f"server {self.client.get_server_version()}"

    def create_task(self) -> str:
        """Create a task of local files in two jobs."""
        files = []
        for number in range(FRAMES):
            files.append(self.folder / f"{number:02}.png")
            Image.new("RGB", (64, 48), (20 * number, 10, 20)).save(files[-1])
        labels = [{"name": "car", "attributes": [ATTRIBUTE]}, {"name": "night", "type": "tag"}]
        self.task = self.client.tasks.create_from_data(
            spec=models.TaskWriteRequest(name=f"by {VERSION}", labels=labels, segment_size=8),
            resource_type=ResourceType.LOCAL,
            resources=[str(path) for path in files],
            data_params={"image_quality": 90},
        )
        assert (self.task.size, len(self.task.get_jobs())) == (FRAMES, 2)
        assert self.task.id in [task.id for task in self.client.tasks.list()]
        return f"task {self.task.id}"

    def read_frames(self) -> str:
        """Read frames, their sizes and the labels."""
        original = self.task.get_frame(3, quality="original").read()
        assert original == (self.folder / "03.png").read_bytes()
        self.task.download_frames([0, 11], outdir=self.folder / "out", quality="original")
        assert len(list((self.folder / "out").iterdir())) == 2
        assert [(each.width, each.height) for each in self.task.get_frames_info()] == [
            (64, 48)
        ] * FRAMES
        names = [label.name for label in self.task.get_labels()]
        assert names == ["car", "night"], names
        return f"{FRAMES} frames"

    def write_annotations(self) -> str:
        """Add, change, replace and delete annotations."""
        car, night = (label.id for label in self.task.get_labels())
        parked = self.task.get_labels()[0].attributes[0].id
        shape = models.LabeledShapeRequest(
            type="rectangle",
            frame=2,
            label_id=car,
            points=BOX,
            attributes=[models.AttributeValRequest(spec_id=parked, value="true")],
        )
        tag = models.LabeledImageRequest(frame=5, label_id=night)
        # It ends inside the first job: CVAT divides a track that reaches into the second one.
        keys = [
            models.TrackedShapeRequest(type="rectangle", frame=frame, points=BOX, outside=frame > 0)
            for frame in (0, 3)
        ]
        track = models.LabeledTrackRequest(frame=0, label_id=car, shapes=keys)
        self.task.set_annotations(
            models.LabeledDataRequest(shapes=[shape], tags=[tag], tracks=[track])
        )
        found = self.task.get_annotations()
        assert found.shapes[0].points == BOX
        assert found.shapes[0].attributes[0].value == "true"
        assert [each.frame for each in found.tags] == [5]
        assert found.tracks[0].shapes[0].points == BOX
        # As clients do: what was read is sent back, first all of it, then a part with a change.
        self.task.set_annotations(models.LabeledDataRequest(**_without_ids(found.to_dict())))
        found = self.task.get_annotations()
        counts = (len(found.shapes), len(found.tags), len(found.tracks))
        assert counts == (1, 1, 1), counts
        moved = found.shapes[0].to_dict()
        moved["points"] = [5.0, 5.0, 9.0, 9.0]
        self.task.update_annotations(
            models.PatchedLabeledDataRequest(shapes=[models.LabeledShapeRequest(**moved)]),
            action=AnnotationUpdateAction.UPDATE,
        )
        (changed,) = self.task.get_annotations().shapes
        assert changed.points == [5.0, 5.0, 9.0, 9.0]  # under another id, as in CVAT
        self.task.remove_annotations(ids=[changed.id])
        assert self.task.get_annotations().shapes == []
        self.task.remove_annotations()
        left = self.task.get_annotations()
        assert (left.tags, left.tracks) == ([], [])
        job = self.task.get_jobs()[1]
        shape.frame = 9
        job.set_annotations(models.LabeledDataRequest(shapes=[shape], tags=[], tracks=[]))
        assert [each.frame for each in job.get_annotations().shapes] == [9]
        job.remove_annotations()
        return "shapes, tags, tracks"

    def list_functions(self) -> str:
        """List the functions."""
        _, response = self.lambda_api.list_functions(_parse_response=False)
        functions = {each["id"]: each for each in json.loads(response.data)}
        assert {"finder", "slow"} <= set(functions)
        assert [label["name"] for label in functions["finder"]["labels_v2"]] == ["car"]
        _, response = self.lambda_api.retrieve_functions("finder", _parse_response=False)
        assert json.loads(response.data)["kind"] == "detector"
        assert self._refused(lambda: self.lambda_api.retrieve_functions("nothing")) == 404
        return ", ".join(sorted(functions))

    def call_function(self) -> str:
        """Call a function on one frame."""
        asked = models.OnlineFunctionCallRequest(task=self.task.id, frame=1)
        _, response = self.lambda_api.create_functions(
            "finder", online_function_call_request=asked, _parse_response=False
        )
        (shape,) = json.loads(response.data)["shapes"]
        assert shape["points"] == BOX
        beyond = models.OnlineFunctionCallRequest(task=self.task.id, frame=99)
        status = self._refused(
            lambda: self.lambda_api.create_functions("finder", online_function_call_request=beyond)
        )
        assert status == 400, status
        return "one rectangle"

    def run_request(self) -> str:
        """Start a request, wait for its end, and read what it wrote."""
        ended = self._wait(self._start("finder"), ENDED)
        assert ended["status"] == "finished", ended
        assert ended["function"]["id"] == "finder"
        shapes = self.task.get_annotations().shapes
        assert sorted(shape.frame for shape in shapes) == list(range(FRAMES))
        assert {str(shape.source) for shape in shapes} == {"auto"}
        self.task.remove_annotations()
        return f"{len(shapes)} shapes"

    def cancel_request(self) -> str:
        """Cancel a request that runs."""
        request = self._start("slow")
        self._wait(request, ("started",))
        again = self._refused(lambda: self._start("finder"))
        assert again == 409, again  # one request a task, as in CVAT
        self.lambda_api.delete_requests(request)
        ended = self._wait(request, (*ENDED, "gone"))
        assert ended["status"] in ("failed", "cancelled", "gone"), ended
        self.task.remove_annotations()
        return str(ended["status"])

    def auto_annotate(self) -> str:
        """Annotate the task with a function in this process."""
        cvataa.annotate_task(self.client, self.task.id, Detector(), clear_existing=True)
        shapes = self.task.get_annotations().shapes
        assert [shape.points for shape in shapes] == [[2.0, 2.0, 62.0, 46.0]] * FRAMES
        return f"{len(shapes)} shapes"

    def export(self) -> str:
        """Export the task with its shapes and read the file."""
        path = self.folder / "export.zip"
        self.task.export_dataset("COCO 1.0", str(path), include_images=False)
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".json")]
            found = json.loads(archive.read(name))
        assert len(found["annotations"]) == FRAMES, found
        return name

    def use_the_command_line(self) -> str:
        """Do the same with cvat-cli, with a password and with a token."""
        file = self.folder / "function.py"
        file.write_text(FUNCTION)
        made = self._cli(
            *("task", "create", "from the shell", "--labels", '[{"name": "car"}]'),
            *("--completion_verification_period", "1", "local"),
            *(str(self.folder / f"{number:02}.png") for number in range(3)),
        ).split()[-1]
        assert made in self._cli("task", "ls", token=True).split()
        self._cli("task", "frames", "--outdir", str(self.folder / "cli"), made, "0", token=True)
        assert len(list((self.folder / "cli").iterdir())) == 1
        self._cli("task", "auto-annotate", made, "--function-file", str(file))
        shapes = self.client.tasks.retrieve(int(made)).get_annotations().shapes
        assert [shape.points for shape in shapes] == [[3.0, 3.0, 61.0, 45.0]] * 3
        self._cli("task", "delete", made)
        return f"task {made}"

    def delete_task(self) -> str:
        """Delete the task and log out."""
        number = self.task.id
        self.task.remove()
        assert self._refused(lambda: self.client.tasks.retrieve(number)) == 404
        self.client.logout()
        self.client.close()
        return f"task {number}"

    def _start(self, function: str) -> str:
        asked = models.FunctionCallRequest(function=function, task=self.task.id, cleanup=True)
        _, response = self.lambda_api.create_requests(
            function_call_request=asked, _parse_response=False
        )
        return str(json.loads(response.data)["id"])

    def _wait(self, request: str, statuses: tuple[str, ...]) -> dict[str, Any]:
        """Poll a request until it has one of the statuses; "gone" is that of an unknown one."""
        deadline = time.monotonic() + 120
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                _, response = self.lambda_api.retrieve_requests(request, _parse_response=False)
                found = json.loads(response.data)
            except exceptions.NotFoundException:
                found = {"status": "gone"}
            if found["status"] in statuses:
                return found
            time.sleep(0.2)
        raise AssertionError(f"the request is still {found}")

    def _cli(self, *words: str, token: bool = False) -> str:
        host, _, port = self.url.rpartition(":")
        environment = {**os.environ, "HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder)}
        login = [] if token else ["--auth", f"{self.user}:{self.password}"]
        if token:
            environment["CVAT_ACCESS_TOKEN"] = self.token
        program = str(Path(sys.executable).with_name("cvat-cli"))
        done = subprocess.run(
            [program, "--server-host", host, "--server-port", port, *login, *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @staticmethod
    def _refused(action: Callable[[], object]) -> int:
        """Return the status with which the server refuses an action."""
        try:
            action()
        except exceptions.ApiException as error:
            return int(error.status)
        raise AssertionError("the server did not refuse it")


def _without_ids(value: Any) -> Any:
    """Return annotations without the ids of their rows and without the version of the answer."""
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    if isinstance(value, dict):
        return {
            key: _without_ids(each) for key, each in value.items() if key not in ("id", "version")
        }
    return value


ATTRIBUTE = {
    "name": "parked",
    "mutable": True,
    "input_type": "checkbox",
    "default_value": "false",
    "values": ["false"],
}
STEPS = (
    Scenario.log_in,
    Scenario.create_task,
    Scenario.read_frames,
    Scenario.write_annotations,
    Scenario.list_functions,
    Scenario.call_function,
    Scenario.run_request,
    Scenario.cancel_request,
    Scenario.auto_annotate,
    Scenario.export,
    Scenario.use_the_command_line,
    Scenario.delete_task,
)


def main(url: str) -> None:
    """Run all steps and print their results."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # the SDK keeps frames by address and task
        scenario = Scenario(url, Path(folder))
        left_out = os.environ.get("CLIENT_WITHOUT", "").split()
        for step in STEPS:
            if step.__name__ in left_out:
                continue
            print(f"{VERSION}: {step.__name__}: {step(scenario)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
