"""Track requests whose objects a native detector finds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone import models
from cvat_lambda.errors import FunctionNotFound
from cvat_lambda.requests.store.models import Request
from cvat_lambda.requests.store.tracking import StartDetector, Tracking
from tests.integration.requests.conftest import store_function
from tests.integration.requests.function_server import FunctionServer, frame_of, function_server
from tests.integration.requests.test_track import behave

from .conftest import ClientFor, create, run
from .scripted import AgentThread, ScriptedAgent, car_at

Params = dict[str, Any]
Path = list[tuple[int, float, bool]]  # a keyframe: frame, left edge, outside

STEP = 2.0  # pixels that the car moves a frame


def detect(params: Params, car_id: int) -> Params:
    """Find the car where it is on the frame."""
    left = 5 + STEP * params["frame"]
    return car_at(params, car_id, left, 10, left + 6, 14)


class MovingTracker:
    """The behaviour of a native tracker that moves each object by `STEP` a frame."""

    def __init__(self) -> None:
        self.lefts: dict[str, float] = {}  # by handle

    def __call__(self, params: Params) -> Params:
        if params["type"] == "init_tracking":
            handles = []
            for shape in params["shapes"]:
                handles.append(f"object-{len(self.lefts)}")
                self.lefts[handles[-1]] = shape["points"][0]
            return {"states": handles}
        shapes = []
        for handle in params["states"]:
            left = self.lefts[handle] = self.lefts[handle] + STEP
            shapes.append({"type": "rectangle", "points": [left, 10, left + 6, 14]})
        return {"shapes": shapes}


@pytest.fixture
def native_tracker(client_for: ClientFor, alice: User, native_pk: int) -> ScriptedAgent:
    """An agent of a tracker of alice."""
    body = {"name": "follow", "kind": "tracker", "supported_shape_types": ["rectangle"]}
    response = create(client_for(alice), **body)
    assert response.status_code == 201, response.content
    return ScriptedAgent(client_for(alice), int(response.json()["id"]))


def found_by(function_id: str) -> Tracking:
    return Tracking(start=StartDetector(detector=function_id, every=3), tolerance_px=0.1)


def paths(task: models.Task) -> list[Path]:
    return [
        [(key.frame, key.points[0], key.outside) for key in track.shapes]
        for track in get_engine().annotations(task.pk).tracks
    ]


EXPECTED = [[(0, 5.0, False), (5, 5 + 5 * STEP, False)]]


def test_native_detector_finds_the_objects_of_a_native_tracker(
    agent: ScriptedAgent,
    native_tracker: ScriptedAgent,
    start: Callable[..., Request],
    task: models.Task,
    car_id: int,
) -> None:
    request = start(
        function_id=f"native-{native_tracker.native_pk}",
        tracking=found_by(f"native-{agent.native_pk}"),
    )
    with (
        AgentThread(agent, partial(detect, car_id=car_id)) as detector,
        AgentThread(native_tracker, MovingTracker()),
    ):
        run(request)
    assert (request.status, request.error_message, request.done) == ("finished", "", 6)
    assert [params["frame"] for params in detector.served] == [0, 3]
    assert paths(task) == EXPECTED


def test_native_detector_finds_the_objects_of_another_tracker(
    agent: ScriptedAgent,
    start: Callable[..., Request],
    task: models.Task,
    car_id: int,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1/32",)
    with function_server() as server, AgentThread(agent, partial(detect, car_id=car_id)):
        server.behave = behave
        store_tracker(server)
        request = run(start(function_id="tracker", tracking=found_by(f"native-{agent.native_pk}")))
    assert (request.status, request.error_message, request.done) == ("finished", "", 6)
    assert paths(task) == EXPECTED


def test_detector_finds_the_objects_of_a_native_tracker(
    native_tracker: ScriptedAgent,
    start: Callable[..., Request],
    task: models.Task,
    settings: Settings,
) -> None:
    """The detector needs the images, which a run of a native tracker does not read."""
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1/32",)

    def cars(payload: Params) -> Any:
        left = 5 + STEP * (frame_of(payload) // 40)
        return [
            {
                "label": "car",
                "type": "rectangle",
                "confidence": "0.9",
                "points": [left, 10, left + 6, 14],
            }
        ]

    with function_server() as server, AgentThread(native_tracker, MovingTracker()):
        server.behave = cars
        store_function(server.url, "detector")
        tracker_id = f"native-{native_tracker.native_pk}"
        request = run(start(function_id=tracker_id, tracking=found_by("detector")))
    assert (request.status, request.error_message, request.done) == ("finished", "", 6)
    assert paths(task) == EXPECTED


def test_private_detector_of_another_user_cannot_find_objects(
    client_for: ClientFor,
    bob: User,
    native_tracker: ScriptedAgent,
    start: Callable[..., Request],
) -> None:
    theirs = int(create(client_for(bob), name="bobs").json()["id"])
    with pytest.raises(FunctionNotFound):
        start(
            function_id=f"native-{native_tracker.native_pk}", tracking=found_by(f"native-{theirs}")
        )


def store_tracker(server: FunctionServer) -> None:
    store_function(
        server.url, "tracker", kind="tracker", labels=[], supported_shape_types="rectangle"
    )
