"""Functions of CVAT's SDK, in folders that ``new --native`` writes, on the embedded runtime."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from PIL import Image, ImageDraw
from pytest_django import Settings

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions import registry
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.store.tracking import StartShape, Tracking
from tests.conftest import REPOSITORY
from tests.integration.requests.conftest import MakeTask, run
from tests.integration.runtime.harness import Runtime, running
from tests.waiting import wait_for

SOURCES = REPOSITORY / "tests" / "data" / "native_functions"
WHITE = (10, 5, 29, 14)  # the box of the white rectangle on the first frame, ends included


def frame(number: int = 0, *, white: bool = True) -> Image.Image:
    """Return a black image of 64 x 48 with a white rectangle that moves 3 pixels a frame."""
    image = Image.new("RGB", (64, 48))
    left, top, right, bottom = WHITE
    if white:
        box = (left + 3 * number, top, right + 3 * number, bottom)
        ImageDraw.Draw(image).rectangle(box, fill="white")
    return image


def encoded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def new_native(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cvat_lambda.runtime", "new", "--native", *map(str, words)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a function of each kind, as ``new --native`` writes them."""
    into = tmp_path_factory.mktemp("native")
    for words in (
        (SOURCES / "bright_box.py", "-p", "level=int:100"),
        (SOURCES / "same_level.py", "clicker"),
        (SOURCES / "follow_bright.py",),
    ):
        made = new_native(*words, "--into", into)
        assert made.returncode == 0, made.stdout + made.stderr
    return into


@pytest.fixture(scope="module")
def runtime(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime that serves them."""
    with running([folders], tmp_path_factory.mktemp("state")) as served:
        for name in ("bright-box", "clicker", "follow-bright"):
            served.wait_for_state(name, "ready")
        yield served


@pytest.fixture
def platform(runtime: Runtime, settings: Settings, transactional_db: None) -> Iterator[None]:
    """The app lists the functions of the runtime."""
    settings.CVAT_LAMBDA_PLATFORM_URL = runtime.url
    settings.CVAT_LAMBDA_PLATFORM_PROJECT = ""
    registry.refresh(force=True)
    yield
    get_gateway().reset()


def call(runtime: Runtime, name: str, **body: Any) -> Any:
    """Call a function and return its answer. An image is encoded."""
    body = {key: encoded(each) if key == "image" else each for key, each in body.items()}
    answer = runtime.call(name, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(runtime: Runtime, name: str, **body: Any) -> str:
    """Return the sentence with which a function refuses a call."""
    body = {key: encoded(each) if key == "image" else each for key, each in body.items()}
    answer = runtime.call(name, body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"])


# --- the folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bright-box", "clicker", "follow-bright"])
def test_new_native_folder_of_each_kind_passes_the_check(folders: Path, name: str) -> None:
    command = [sys.executable, "-m", "cvat_lambda.runtime", "check", str(folders / name)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_new_native_folder_names_the_function_and_its_parameters(folders: Path) -> None:
    document = yaml.safe_load((folders / "bright-box" / "function.yaml").read_text())
    section = document["x-cvat-lambda"]
    assert section == {"native": "bright_box", "parameters": {"level": 100}}


@pytest.mark.django_db
def test_kind_labels_and_prompts_come_from_the_spec_of_the_function(platform: None) -> None:
    detector, interactor, tracker = (
        registry.get(name) for name in ("bright-box", "clicker", "follow-bright")
    )
    assert [(label.name, label.type) for label in detector.labels] == [
        ("bright", "rectangle"),
        ("light", "mask"),
        ("day", "tag"),
        ("diagonal", "skeleton"),
    ]
    assert detector.labels[0].attributes[0].values == ("small", "large")
    assert [each.name for each in detector.labels[3].sublabels] == ["first", "last"]
    assert interactor.interactor is not None
    prompts = interactor.interactor
    assert (prompts.min_pos_points, prompts.min_neg_points) == (1, 0)
    assert (prompts.startswith_box, prompts.startswith_box_optional) == (False, True)
    assert tracker.supported_shape_types == ("polygon", "rectangle")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no_such_module"], "the function cannot be loaded: ModuleNotFoundError"),
        (["json"], "'json' is no function of cvat_sdk.auto_annotation: it has no 'spec'"),
        (["no_such.py"], "there is no file no_such.py"),
        (["two words"], "must be a module or a file of Python"),
        ([SOURCES / "bright_box.py", "-p", "depth=int:1"], "unexpected keyword argument 'depth'"),
        ([SOURCES / "same_level.py", "-p", "depth=int:1"], "takes no parameters"),
        ([SOURCES / "bright_box.py", "-p", "level=int:x"], "'x' of 'level' is no int"),
        ([SOURCES / "bright_box.py", "detector", "mine"], "unrecognized arguments: mine"),
    ],
)
def test_new_native_function_that_cannot_be_loaded_is_refused_and_leaves_no_folder(
    tmp_path: Path, words: list[Any], sentence: str
) -> None:
    done = new_native(*words, "--into", tmp_path)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- calls ---------------------------------------------------------------------------------------


def test_detection_function_answers_shapes_tags_and_skeletons(runtime: Runtime) -> None:
    rectangle, mask, skeleton, tag = call(runtime, "bright-box", image=frame())
    share = pytest.approx(200 / (64 * 48))
    assert rectangle == {
        "label": "bright",
        "type": "rectangle",
        "points": [10.0, 5.0, 30.0, 15.0],
        "confidence": share,
        "attributes": [{"name": "size", "value": "small"}],
    }
    assert mask == {
        "label": "light",
        "type": "mask",
        "mask": [1] * 200 + list(WHITE),
        "confidence": share,
    }
    assert skeleton["elements"] == [
        {"label": "first", "type": "points", "points": [10.0, 5.0]},
        {"label": "last", "type": "points", "points": [30.0, 15.0], "outside": True},
    ]
    assert tag == {"label": "day", "type": "tag"}


@pytest.mark.parametrize(("threshold", "count"), [(0, 4), (0.06, 4), (0.07, 0), (None, 4)])
def test_detection_function_is_told_the_threshold(
    runtime: Runtime, threshold: float | None, count: int
) -> None:
    found = call(runtime, "bright-box", image=frame(), threshold=threshold)
    assert len(found) == count


def test_interaction_function_answers_the_mask_of_its_prompts(runtime: Runtime) -> None:
    answer = call(runtime, "clicker", image=frame(), pos_points=[[12, 7]], neg_points=[])
    assert answer == {"mask": [[255] * 20] * 10, "bounds": list(WHITE)}
    boxed = call(
        runtime, "clicker", image=frame(), pos_points=[[12, 7]], obj_bbox=[[12, 6], [15, 9]]
    )
    assert boxed == {"mask": [[255] * 3] * 3, "bounds": [12, 6, 14, 8]}
    nothing = call(runtime, "clicker", image=frame(), pos_points=[[12, 7]], neg_points=[[11, 7]])
    assert nothing["points"] == []


def test_interaction_function_preprocesses_an_image_once(runtime: Runtime) -> None:
    for x in (1, 2, 3):
        call(runtime, "clicker", image=frame().crop((0, 0, 61, 41)), pos_points=[[x, 1]])
    call(runtime, "clicker", image=frame().crop((0, 0, 62, 42)), pos_points=[[1, 1]])
    log = wait_for("the log", lambda: runtime.log("clicker"), lambda log: "62 x 42 is pre" in log)
    assert log.count("an image of 61 x 41 is preprocessed") == 1


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("clicker", {"pos_points": []}, "'pos_points' has 0; send 1 points"),
        ("clicker", {"pos_points": [[1, "x"]]}, "'pos_points' holds"),
        ("bright-box", {"threshold": 2}, "'threshold' is 2; send a number from 0 to 1"),
        ("follow-bright", {"shapes": []}, "send the objects to track"),
        ("follow-bright", {"shapes": [{"type": "mask", "points": [1]}]}, "is of type 'mask'"),
        ("follow-bright", {"states": [7]}, "'states[0]' is not a state of this function"),
    ],
)
def test_wrong_call_of_a_native_function_is_refused_with_a_sentence(
    runtime: Runtime, name: str, body: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(runtime, name, image=frame(), **body)


def test_tracking_function_follows_several_shapes(runtime: Runtime) -> None:
    shapes = [
        {"type": "rectangle", "points": [10.0, 5.0, 30.0, 15.0]},
        {"type": "polygon", "points": [10.0, 5.0, 30.0, 5.0, 20.0, 15.0]},
    ]
    begun = call(runtime, "follow-bright", image=frame(), shapes=shapes, states=[])
    assert begun["shapes"] == shapes
    states = begun["states"]
    for number in (1, 2):
        moved = call(
            runtime, "follow-bright", image=frame(number), shapes=[None] * 2, states=states
        )
        states = moved["states"]
    assert [shape["points"] for shape in moved["shapes"]] == [
        [16.0, 5.0, 36.0, 15.0],
        [16.0, 5.0, 36.0, 5.0, 26.0, 15.0],
    ]
    lost = call(runtime, "follow-bright", image=frame(white=False), states=states)
    assert lost["shapes"] == [None, None]
    found = call(runtime, "follow-bright", image=frame(3), states=lost["states"])
    assert found["shapes"][0]["points"] == [19.0, 5.0, 39.0, 15.0]


def test_tracking_function_goes_on_from_the_last_shape_after_a_restart(runtime: Runtime) -> None:
    shape = {"type": "rectangle", "points": [10.0, 5.0, 30.0, 15.0]}
    (state,) = call(runtime, "follow-bright", image=frame(), shapes=[shape])["states"]
    state["id"] = "0" * 32  # that of a worker that does not run any more
    lost = call(runtime, "follow-bright", image=frame(1), states=[state])
    assert lost["shapes"] == [shape]
    moved = call(runtime, "follow-bright", image=frame(2), states=lost["states"])
    assert moved["shapes"][0]["points"] == [13.0, 5.0, 33.0, 15.0]


def test_tracker_with_two_workers_does_not_start_and_says_why(
    folders: Path, tmp_path: Path
) -> None:
    document = (folders / "follow-bright" / "function.yaml").read_text()
    copy = tmp_path / "follow-bright"
    subprocess.run(["cp", "-r", folders / "follow-bright", copy], check=True)
    copy.joinpath("function.yaml").write_text(document.replace("Workers: 1", "Workers: 2"))
    with running([copy], tmp_path / "state") as served:
        message = served.wait_for_state("follow-bright", "error")["status"]["message"]
    assert "a tracker of cvat_sdk keeps its states in one process" in message


# --- requests ------------------------------------------------------------------------------------


@pytest.fixture
def make_white_task(transactional_db: None, alice: User, tmp_path: Path) -> MakeTask:
    """Return a function that creates a task of alice whose white rectangle moves."""

    def make(count: int, labels: list[dict[str, Any]]) -> Task:
        files = []
        for number in range(count):
            files.append(tmp_path / f"{number}.png")
            frame(number).save(files[-1])
        return create_task(alice, "white", labels, files)

    return make


def test_request_of_a_detection_function_annotates_the_frames(
    platform: None, make_white_task: MakeTask, access: StandaloneAccess
) -> None:
    task = make_white_task(3, [{"name": "bright", "type": "rectangle"}])
    request = run(create_request(access, function_id="bright-box", task_id=task.pk))
    assert request.status == "finished"
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted((shape.frame, shape.points) for shape in shapes) == [
        (number, (10.0 + 3 * number, 5.0, 30.0 + 3 * number, 15.0)) for number in range(3)
    ]


def test_request_of_a_tracking_function_follows_a_shape(
    platform: None, make_white_task: MakeTask, access: StandaloneAccess
) -> None:
    task = make_white_task(4, [{"name": "bright", "type": "rectangle"}])
    start = StartShape(frame=0, label="bright", type="rectangle", points=(10, 5, 30, 15))
    request = create_request(
        access, function_id="follow-bright", task_id=task.pk, tracking=Tracking(shapes=(start,))
    )
    assert run(request).status == "finished"
    (track,) = get_engine().annotations(task.pk).tracks
    # Between keyframes the positions are interpolated.
    assert [(key.frame, key.points) for key in track.shapes] == [
        (0, (10.0, 5.0, 30.0, 15.0)),
        (3, (19.0, 5.0, 39.0, 15.0)),
    ]
