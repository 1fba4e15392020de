"""Requests that use some labels of a function, and that replace some labels of a task."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.annotations.types import LabeledData, Shape, Tag, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.preview import preview_request
from cvat_lambda.requests.store.models import Request

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer

NAMES = ("car", "person")
LABELS = [{"name": name, "type": "any"} for name in NAMES]


@pytest.fixture
def both(transactional_db: None, function: FunctionServer) -> Function:
    """A detector that finds one car and one person on each frame."""
    function.behave = lambda payload: [
        {"label": name, "type": "rectangle", "points": [1, 1, 9, 9]} for name in NAMES
    ]
    return store_function(function.url, labels=LABELS)


def ids(task_id: int) -> dict[str, int]:
    """Return the ids of a task's labels by name."""
    return {label.name: label.id or 0 for label in get_engine().task(task_id).labels}


def counted(task_id: int) -> dict[str, tuple[int, int, int]]:
    """Return the numbers of shapes, tags and tracks of each label of a task."""
    data = get_engine().annotations(task_id)
    kinds = (data.shapes, data.tags, data.tracks)
    return {
        name: tuple(sum(item.label_id == pk for item in items) for items in kinds)  # type: ignore[misc]
        for name, pk in ids(task_id).items()
    }


def add_one_of_each(task_id: int) -> None:
    """Add a manual shape, tag and track of each label to frame 0."""
    for pk in ids(task_id).values():
        points = (30.0, 30.0, 40.0, 40.0)
        keys = (
            TrackedShape(type="rectangle", frame=0, points=points),
            TrackedShape(type="rectangle", frame=1, points=points, outside=True),
        )
        data = LabeledData(
            shapes=(Shape(type="rectangle", frame=0, label_id=pk, points=points, source="manual"),),
            tags=(Tag(frame=0, label_id=pk, source="manual"),),
            tracks=(Track(frame=0, label_id=pk, shapes=keys, source="manual"),),
        )
        with get_engine().atomic():
            get_engine().apply(Change(task_id=task_id, frames=(0,), add=data))


def test_only_the_named_labels_of_the_function_are_written(
    both: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2, labels=LABELS)
    request = run(start(task_id=task.pk, labels=["person"]))
    assert request.params["labels"] == ["person"]
    assert counted(task.pk) == {"car": (0, 0, 0), "person": (2, 0, 0)}


def test_all_annotations_of_the_named_labels_of_the_task_are_replaced_and_others_kept(
    both: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2, labels=LABELS)
    add_one_of_each(task.pk)
    run(start(task_id=task.pk, labels=["person"], replace="all", replace_labels=["person"]))
    assert counted(task.pk) == {"car": (1, 1, 1), "person": (2, 0, 0)}


@pytest.mark.parametrize("policy", ["automatic", "function"])
def test_what_functions_made_is_replaced_only_of_the_named_labels(
    both: Function, make_task: MakeTask, start: Start, policy: str
) -> None:
    task = make_task(1, labels=LABELS)
    run(start(task_id=task.pk))
    run(start(task_id=task.pk, replace=policy, replace_labels=["car"]))
    assert counted(task.pk) == {"car": (1, 0, 0), "person": (2, 0, 0)}


def test_a_run_with_some_labels_keeps_what_the_function_made_of_the_others(
    both: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(1, labels=LABELS)
    run(start(task_id=task.pk))
    run(start(task_id=task.pk, labels=["car"], replace="function"))
    assert counted(task.pk) == {"car": (1, 0, 0), "person": (1, 0, 0)}


@pytest.mark.parametrize(
    ("policy", "shapes", "tags"), [("all", 2, 1), ("automatic", 1, 0), ("function", 1, 0)]
)
def test_a_preview_counts_the_annotations_of_the_named_labels_only(
    both: Function,
    make_task: MakeTask,
    start: Start,
    access: StandaloneAccess,
    policy: str,
    shapes: int,
    tags: int,
) -> None:
    task = make_task(1, labels=LABELS)
    add_one_of_each(task.pk)
    run(start(task_id=task.pk))
    found = preview_request(
        access, function_id=both.pk, task_id=task.pk, replace=policy, replace_labels=["car"]
    )
    assert (found.replaced_shapes, found.replaced_tags) == (shapes, tags)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": ["boat"]}, "has no label 'boat'"),
        ({"replace": "all", "replace_labels": ["boat"]}, "has no label 'boat'"),
        ({"replace": "none", "replace_labels": ["car"]}, "give replace, too"),
    ],
)
def test_labels_that_do_not_exist_and_a_replacement_without_policy_are_refused(
    both: Function, make_task: MakeTask, start: Start, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        start(task_id=make_task(1, labels=LABELS).pk, **options)
    assert not Request.objects.exists()
