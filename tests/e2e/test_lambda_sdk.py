"""Every method of the real cvat-sdk's `lambda_api` against a live server."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cvat_sdk.api_client import exceptions
from cvat_sdk.api_client.apis import LambdaApi
from cvat_sdk.core.client import Client, Config
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.server.processes import Child
from tests.e2e.conftest import Server
from tests.integration.interactive.functions import Functions

models: Any = importlib.import_module("cvat_sdk.api_client.models")  # the package has no type hints

pytestmark = pytest.mark.filterwarnings("default")  # warnings of the SDK itself

SPEC = json.dumps([{"name": "car", "type": "rectangle"}])
BOX = {"label": "car", "type": "rectangle", "points": [1, 2, 30, 20], "confidence": 0.5}
MASK = {"mask": [[0, 1], [1, 1]], "bounds": [0, 0, 1, 1]}
RECT = {"type": "rectangle", "points": [1.0, 2.0, 11.0, 12.0]}


@pytest.fixture
def client(transactional_db: None, server: Server, alice: User) -> Iterator[Client]:
    """A client that is logged in as alice."""
    config = Config(allow_unsupported_server=False)
    with Client(server.url, config=config) as client:
        client.login(("alice", "alice-secret"))
        yield client


@pytest.fixture
def lambda_api(client: Client) -> LambdaApi:
    """The SDK's lambda API, logged in as alice."""
    return client.api_client.lambda_api


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> Task:
    """A task of three frames in two jobs."""
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (64, 48), (40 * number, 10, 20)).save(files[-1])
    return create_task(alice, "three", [{"name": "car"}], files, segment_size=2)


def call(lambda_api: LambdaApi, function_id: str, **members: Any) -> Any:
    """Make a call with the SDK. Return the JSON of the answer, which the SDK does not parse."""
    _, response = lambda_api.create_functions(
        function_id, online_function_call_request=models.OnlineFunctionCallRequest(**members)
    )
    assert response.status == 200
    return json.loads(response.data)


def test_functions_are_listed_and_retrieved(lambda_api: LambdaApi, functions: Functions) -> None:
    functions.add("yolo", type="detector", spec=SPEC)
    _, response = lambda_api.list_functions()
    (listed,) = json.loads(response.data)
    retrieved, _ = lambda_api.retrieve_functions("yolo")
    assert listed["id"] == "yolo"
    assert retrieved is not None
    assert dict(retrieved) == listed


def test_retrieve_of_an_unknown_function_raises_not_found(
    lambda_api: LambdaApi, functions: Functions
) -> None:
    with pytest.raises(exceptions.NotFoundException) as caught:
        lambda_api.retrieve_functions("nobody")
    assert "function_not_found" in str(caught.value)


def test_call_of_a_detector_with_the_sdk_returns_its_shapes(
    lambda_api: LambdaApi, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=SPEC)
    answer = call(
        lambda_api,
        "yolo",
        task=task.pk,
        frame=1,  # the SDK sends 1.0
        threshold=0,
        mapping={"car": {"name": "car"}},
        roi=[2, 3, 60, 40],
    )
    (shape,) = answer["shapes"]
    assert (shape["frame"], shape["points"], shape["score"]) == (1, [3, 5, 32, 23], 0.5)
    assert functions.asked["yolo"][0]["threshold"] == 0


def test_sdk_example_of_the_api_page_runs(client: Client, functions: Functions, task: Task) -> None:
    functions.add("my-detector", lambda payload: [BOX], type="detector", spec=SPEC)
    docs = Path(__file__).resolve().parents[2] / "docs" / "api.md"
    (example,) = re.findall(r"```python\n(.*?)```", docs.read_text(), re.DOTALL)
    found: dict[str, Any] = {"client": client}
    exec(example.replace("task=1", f"task={task.pk}"), found)
    assert [shape["points"] for shape in found["shapes"]] == [[1, 2, 30, 20]]


def test_call_of_an_interactor_with_the_sdk_returns_its_mask(
    lambda_api: LambdaApi, functions: Functions, task: Task
) -> None:
    functions.add("sam", lambda payload: MASK, type="interactor")
    answer = call(
        lambda_api, "sam", task=task.pk, frame=0, pos_points=[[3, 4]], neg_points=[], obj_bbox=[]
    )
    assert answer == MASK
    assert functions.asked["sam"][0]["pos_points"] == [[3.0, 4.0]]


def test_calls_of_a_tracker_with_the_sdk_pass_its_state_on(
    lambda_api: LambdaApi, functions: Functions, task: Task
) -> None:
    functions.add(
        "siam",
        lambda payload: {"shapes": [RECT], "states": [{"n": 1}]},
        type="tracker",
        supported_shape_types="rectangle",
    )
    begun = call(lambda_api, "siam", task=task.pk, frame=0, shapes=[RECT])
    step = call(lambda_api, "siam", task=task.pk, frame=1, states=begun["states"])
    assert step["shapes"] == [RECT]
    assert functions.asked["siam"][1]["states"] == [{"n": 1}]


def test_call_of_a_reid_function_with_the_sdk_returns_its_matches(
    lambda_api: LambdaApi, functions: Functions, task: Task
) -> None:
    functions.add("reid", lambda payload: [0], type="reid")
    boxes = [{"type": "rectangle", "points": [0, 0, 9, 9], "label_id": 1}]
    answer = call(
        lambda_api,
        "reid",
        task=task.pk,
        frame0=0,
        frame1=1,
        boxes0=boxes,
        boxes1=boxes,
        max_distance=50,
    )
    assert answer == [0]
    assert functions.asked["reid"][0]["max_distance"] == 50


def test_call_on_a_frame_outside_the_task_raises_an_error_with_the_range(
    lambda_api: LambdaApi, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=SPEC)
    with pytest.raises(exceptions.ApiException) as caught:
        call(lambda_api, "yolo", task=task.pk, frame=99)
    assert caught.value.status == 400
    assert "0 to 2" in caught.value.body


def test_request_is_created_retrieved_listed_and_cancelled_with_the_sdk(
    lambda_api: LambdaApi, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=SPEC)
    made, response = lambda_api.create_requests(
        function_call_request=models.FunctionCallRequest(
            function="yolo",
            task=task.pk,
            threshold=0.5,
            cleanup=True,
            mapping={"car": models.LabelMappingEntryRequest(name="car", attributes={})},
        )
    )
    assert made is not None
    assert (response.status, made.status, made.progress) == (200, "queued", None)
    assert (made.function.id, made.function.task, made.function.threshold) == ("yolo", task.pk, 0.5)
    assert made.enqueued is not None
    assert (made.started, made.ended, made.exc_info) == (None, None, None)
    found, _ = lambda_api.retrieve_requests(made.id)
    listed, _ = lambda_api.list_requests()
    assert found is not None
    assert listed is not None
    assert found.id == made.id == listed[0].id
    with pytest.raises(exceptions.ApiException) as caught:
        lambda_api.create_requests(
            function_call_request=models.FunctionCallRequest(function="yolo", task=task.pk)
        )
    assert caught.value.status == 409
    _, response = lambda_api.delete_requests(made.id)
    assert response.status == 204
    ended, _ = lambda_api.retrieve_requests(made.id)
    assert ended is not None
    assert ended.status == "cancelled"


def test_request_id_that_the_sdk_encodes_is_decoded(lambda_api: LambdaApi) -> None:
    name = "action=autoannotate&target=task&target_id=1"
    with pytest.raises(exceptions.NotFoundException) as caught:
        lambda_api.retrieve_requests(name)
    assert name in str(caught.value)


def test_sdk_lists_a_request_on_several_tasks_with_task_none(
    lambda_api: LambdaApi,
    functions: Functions,
    task: Task,
    server: Server,
    alice: User,
    tmp_path: Path,
) -> None:
    functions.add("yolo", type="detector", spec=SPEC)
    other = create_task(alice, "other", [{"name": "car"}], [tmp_path / "0.png"])
    made, _ = lambda_api.create_requests(
        function_call_request=models.FunctionCallRequest(
            function="yolo", task=task.pk, frames=[[0, 1]]
        )
    )
    assert made is not None
    lambda_api.delete_requests(made.id)
    lambda_api.api_client.call_api(
        "/api/lambda/requests",
        "POST",
        body={"function": "yolo", "tasks": [task.pk, other.pk]},
        header_params={"Content-Type": "application/json"},
        _parse_response=False,
    )
    listed, _ = lambda_api.list_requests()
    assert listed is not None
    assert [found.function.task for found in listed] == [None, task.pk]


def test_worker_runs_a_request_of_the_sdk_and_writes_its_shapes(
    lambda_api: LambdaApi,
    functions: Functions,
    task: Task,
    worker_process: Callable[..., Child],
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=SPEC)
    made, _ = lambda_api.create_requests(
        function_call_request=models.FunctionCallRequest(function="yolo", task=task.pk)
    )
    assert made is not None
    worker = worker_process(burst=True, CVAT_LAMBDA_PLATFORM_URL=functions.url)
    assert worker.process.wait(300) == 0
    found, _ = lambda_api.retrieve_requests(made.id)
    assert found is not None
    assert (found.status, found.progress, found.exc_info) == ("finished", 100, None)
    annotations, _ = lambda_api.api_client.tasks_api.retrieve_annotations(task.pk)
    assert sorted(shape.frame for shape in annotations.shapes) == [0, 1, 2]
