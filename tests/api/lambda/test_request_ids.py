"""The id of an HTTP request is sent to the function and returned to the client."""

from __future__ import annotations

from typing import Final

from cvat_lambda.engine.standalone.models import Task
from tests.integration.interactive.functions import Functions

from .conftest import Api

CAR: Final = '[{"name": "car", "type": "rectangle"}]'


def test_request_id_of_a_call_is_sent_to_the_function_and_returned(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    response = api.post(
        "functions/yolo", {"task": task.pk, "frame": 0}, headers={"X-Request-Id": "client-7"}
    )
    assert response.status_code == 200
    assert response["X-Request-Id"] == "client-7"
    assert functions.request_ids == ["client-7"]


def test_call_without_a_request_id_gets_one_and_sends_it_to_the_function(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    response = api.call("yolo", task=task.pk, frame=0)
    assert functions.request_ids == [response["X-Request-Id"]]
