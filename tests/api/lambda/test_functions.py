"""``GET functions``: the members that CVAT's page and SDK read, for each kind."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import NATIVE, Function
from tests.integration.interactive.functions import Functions

from .conftest import BROWSER, Api

LABELS: list[dict[str, Any]] = [
    {
        "id": 7,
        "name": "car",
        "type": "rectangle",
        "attributes": [{"name": "colour", "input_type": "select", "values": ["red", "blue"]}],
    },
    {
        "name": "body",
        "type": "skeleton",
        "svg": "<svg></svg>",
        "sublabels": [
            {"id": 0, "name": "head", "type": "points"},
            {"id": 1, "name": "foot", "type": "points"},
        ],
    },
]


def test_detector_is_described_with_the_members_of_cvat(api: Api, functions: Functions) -> None:
    functions.add("yolo", type="detector", spec=json.dumps(LABELS), version="3")
    assert api.get("functions").json() == [
        {
            "id": "yolo",
            "kind": "detector",
            "labels_v2": [
                {
                    "name": "car",
                    "type": "rectangle",
                    "attributes": [
                        {"name": "colour", "input_type": "select", "values": ["red", "blue"]}
                    ],
                },
                {
                    "name": "body",
                    "type": "skeleton",
                    "attributes": [],
                    "svg": "<svg></svg>",
                    "sublabels": [
                        {"name": "head", "type": "points", "attributes": []},
                        {"name": "foot", "type": "points", "attributes": []},
                    ],
                },
            ],
            "description": "what yolo does",
            "name": "Yolo",
            "version": 3,
            "state": "ready",
        }
    ]


def test_interactor_is_described_with_the_options_of_cvats_canvas(
    api: Api, functions: Functions
) -> None:
    functions.add(
        "sam",
        type="interactor",
        version="2",
        min_pos_points="0",
        min_neg_points="0",
        startswith_box="false",
        startswith_box_optional="true",
        help_message="click",
        animated_gif="https://example.com/a.gif",
    )
    found = api.get("functions/sam").json()
    assert {name: found[name] for name in list(found)[7:]} == {
        "min_pos_points": 0,
        "min_neg_points": 0,
        "startswith_box": False,
        "startswith_box_optional": True,
        "help_message": "click",
        "animated_gif": "https://example.com/a.gif",
    }


def test_annotation_with_the_text_false_is_read_as_false(api: Api, functions: Functions) -> None:
    """Bug in CVAT: it read every non-empty text as true."""
    functions.add("iog", type="interactor", startswith_box="false")
    assert api.get("functions/iog").json()["startswith_box"] is False


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, ["rectangle"]),  # CVAT's page fails on a tracker without the list
        ({"supported_shape_types": "rectangle,polygon"}, ["rectangle", "polygon"]),
    ],
)
def test_tracker_always_lists_its_supported_shape_types(
    api: Api, functions: Functions, annotations: dict[str, str], expected: list[str]
) -> None:
    functions.add("siam", None, type="tracker", **annotations)
    assert api.get("functions/siam").json()["supported_shape_types"] == expected


def _at(place: int, count: int) -> tuple[str, ...]:
    return tuple(r"\ud800" if number == place else "" for number in range(count))


def test_list_with_a_broken_function_has_all_others(
    api: Api, functions: Functions, caplog: pytest.LogCaptureFixture
) -> None:
    """Bug in CVAT: a function without annotations made the whole list fail."""
    functions.put("good", type="detector", spec=json.dumps(LABELS))
    functions.put("no-kind", spec="[]")
    functions.put("bad-spec", type="detector", spec="{")
    functions.put("bad-version", type="detector", version="new")
    functions.put("twice", type="detector", spec=json.dumps(LABELS[:1] * 2))
    odd = r'[{"name": "a", "type": "skeleton", "svg": "%s", "sublabels": [{"name": "b%s"}]}]'
    attribute = r'{"name": "b%s", "input_type": "text", "values": ["%s"]}'
    text = r'[{"name": "a%s", "attributes": [' + attribute + "]}]"
    for place in range(3):  # escapes that no answer can contain
        functions.put(f"surrogate-{place}", type="detector", spec=text % _at(place, 3))
    functions.put("surrogate-svg", type="detector", spec=odd % (r"<svg>\ud800", ""))
    functions.put("surrogate-sublabel", type="detector", spec=odd % ("<svg>", r"\ud800"))
    functions.put("nul", type="detector", spec=r'[{"name": "a\u0000"}]')
    functions.put("surrogate-type", type="tracker", supported_shape_types=r'["\ud800"]')
    functions.put("naked", type="detector")
    del functions.objects["naked"]["metadata"]["annotations"]
    with caplog.at_level(logging.WARNING):
        registry.refresh(force=True)
    # Only labels and attributes of these cannot be used: they are left out.
    incomplete = {name for name in functions.objects if name.startswith("surrogate-")}
    incomplete = incomplete - {"surrogate-type"} | {"twice", "nul"}
    listed = {item["id"]: item for item in api.get("functions").json()}
    assert listed.keys() == {"good"} | incomplete
    assert [label["name"] for label in listed["good"]["labels_v2"]] == [
        label["name"] for label in LABELS
    ]
    assert listed["nul"]["labels_v2"] == []
    assert len(listed["twice"]["labels_v2"]) == 1
    broken = functions.objects.keys() - listed.keys()
    said = {name: api.get(f"functions/{name}").json()["code"] for name in broken}
    assert said == dict.fromkeys(broken, "function_spec_invalid")


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"spec": "[]"}, "type"),
        ({"type": "oracle"}, "oracle"),
        ({"type": "detector", "spec": "{"}, "spec"),
    ],
)
def test_retrieve_of_a_broken_function_names_its_problem(
    api: Api, functions: Functions, annotations: dict[str, str], words: str
) -> None:
    functions.add("broken", None, **annotations)
    answer = api.get("functions/broken")
    assert (answer.status_code, answer.json()["code"]) == (502, "function_spec_invalid")
    assert "broken" in answer.json()["message"]
    assert words in answer.json()["message"]


def test_list_is_answered_while_the_platform_is_down(api: Api, functions: Functions) -> None:
    functions.add("yolo", type="detector")
    functions.is_down = True
    assert [item["id"] for item in api.get("functions").json()] == ["yolo"]


def test_function_that_the_platform_no_longer_lists_is_missing(
    api: Api, functions: Functions
) -> None:
    functions.add("yolo", type="detector")
    functions.remove("yolo")
    found = api.get("functions/yolo").json()
    assert found["state"] == "missing"
    assert found["deprecated_state"] == "away"
    # CVAT's page shows no state.
    assert re.fullmatch(
        r"\(missing since [0-9-]+ [0-9:]+ UTC\) what yolo does", found["description"]
    )


@pytest.mark.parametrize(("state", "name"), [("error", "Yolo (error)"), ("ready", "Yolo")])
def test_browser_gets_the_state_of_an_unusable_function_in_its_name(
    api: Api, functions: Functions, state: str, name: str
) -> None:
    """CVAT's pages show only the name and the labels of a detector."""
    functions.add("yolo", type="detector", name="Yolo")
    Function.objects.filter(pk="yolo").update(state=state)
    assert [found["name"] for found in api.get("functions", BROWSER).json()] == [name]
    assert api.get("functions/yolo", BROWSER).json()["name"] == name
    assert [found["name"] for found in api.get("functions").json()] == ["Yolo"]


def test_request_for_a_missing_function_is_queued(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=json.dumps([{"name": "car", "type": "rectangle"}]))
    functions.remove("yolo")
    answer = api.post("requests", {"function": "yolo", "task": task.pk})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


def test_function_that_has_been_missing_for_31_days_is_deleted(
    api: Api, functions: Functions, settings: Settings
) -> None:
    for name in ("gone", "lately", "switched-off", "endpoint", "there"):
        functions.put(name, type="detector")
    registry.refresh(force=True)
    Function.objects.filter(pk="endpoint").update(platform="endpoint", state="missing")
    Function.objects.filter(pk="switched-off").update(enabled=False)  # a disabled function is kept
    for name in ("gone", "lately", "switched-off", "endpoint"):
        del functions.objects[name]
    registry.refresh(force=True)
    long_ago = timezone.now() - timedelta(days=31)
    Function.objects.exclude(pk="lately").update(seen_at=long_ago)

    settings.CVAT_LAMBDA_FORGET_FUNCTIONS_DAYS = 0
    registry.refresh(force=True)
    assert Function.objects.filter(pk="gone").exists()
    settings.CVAT_LAMBDA_FORGET_FUNCTIONS_DAYS = 30
    functions.is_down = True
    registry.refresh(force=True)
    assert Function.objects.filter(pk="gone").exists()  # the platform said nothing
    functions.is_down = False
    registry.refresh(force=True)
    assert sorted(Function.objects.values_list("pk", flat=True)) == [
        "endpoint",
        "lately",
        "switched-off",
        "there",
    ]
    assert api.get("functions/gone").status_code == 404


def test_list_without_any_successful_read_of_the_platform_answers_503(
    api: Api, functions: Functions
) -> None:
    functions.is_down = True
    answer = api.get("functions")
    assert (answer.status_code, answer.json()["code"]) == (503, "platform_unreachable")


def test_unknown_function_answers_404(api: Api, functions: Functions) -> None:
    answer = api.get("functions/nobody.knows-it_")
    assert (answer.status_code, answer.json()["code"]) == (404, "function_not_found")


@pytest.mark.parametrize("path", ["functions/a%00b", "functions/%C3%A9", "functions/a%20b"])
def test_invalid_function_id_answers_404_as_json(api: Api, db: None, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "function_not_found")


def test_path_with_a_trailing_slash_answers_404(api: Api, functions: Functions) -> None:
    assert api.get("functions/").status_code == 404


def test_list_has_pages_if_the_query_wants_one(api: Api, functions: Functions) -> None:
    for number in range(5):
        functions.add(f"f{number}", type="detector", spec=json.dumps(LABELS))
    whole = api.get("functions").json()
    first = api.get("functions?page_size=2").json()
    assert (first["count"], first["previous"], first["results"]) == (5, None, whole[:2])
    second = api.client.get(first["next"]).json()
    assert second["results"] == whole[2:4]
    last = api.client.get(second["next"]).json()
    assert (last["next"], last["results"]) == (None, whole[4:])
    assert api.get("functions?page=1").json()["results"] == whole
    assert api.get("functions?page_size=2&page=4").status_code == 404


def test_compact_list_has_id_name_kind_and_state_only(api: Api, functions: Functions) -> None:
    functions.add("sam", type="interactor")
    functions.add("yolo", type="detector", spec=json.dumps(LABELS))
    compact = [
        {"id": "sam", "name": "Sam", "kind": "interactor", "state": "ready"},
        {"id": "yolo", "name": "Yolo", "kind": "detector", "state": "ready"},
    ]
    assert api.get("functions?fields=compact").json() == compact
    assert api.get("functions?fields=compact&page_size=1&page=2").json()["results"] == compact[1:]


@pytest.mark.parametrize("path", ["functions", "functions?fields=compact", "functions?page=1"])
def test_every_form_of_the_list_leaves_out_broken_functions_and_private_ones_of_others(
    api: Api, functions: Functions, bob: User, path: str
) -> None:
    functions.add("good", type="detector", spec=json.dumps(LABELS))
    functions.put("broken", type="detector", spec="{")
    metadata = functions.objects["good"]
    native: dict[str, Any] = {"platform": NATIVE, "owner": bob, "private": True}
    Function.objects.create(id="secret", kind="detector", metadata=metadata, **native)
    found = api.get(path).json()
    results = found["results"] if isinstance(found, dict) else found
    assert [function["id"] for function in results] == ["good"]


@pytest.mark.parametrize(
    ("query", "member"),
    [
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=-1", "page"),
        ("page_size=0", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=", "page_size"),
        (f"page={10**30}", "page"),
        ("fields=id", "fields"),
        ("fields=", "fields"),
    ],
)
def test_list_with_an_invalid_query_answers_400_that_names_the_parameter(
    api: Api, functions: Functions, query: str, member: str
) -> None:
    answer = api.get(f"functions?{query}")
    assert (answer.status_code, list(answer.json())) == (400, [member])


def test_queries_and_size_of_a_page_of_functions_do_not_grow_with_their_number(
    api: Api, functions: Functions
) -> None:
    seen = []
    for numbers in (range(3), range(3, 100)):
        for number in numbers:
            functions.put(f"f{number:03}", type="detector", spec=json.dumps(LABELS))
        registry.refresh(force=True)
        for _ in range(2):
            with CaptureQueriesContext(connection) as queries:
                answer = api.get("functions?page_size=2&page=1&fields=compact")
        results = answer.json()["results"]
        seen.append((len(results), len(queries)))
    assert (seen[0][0], seen[1][0]) == (2, 2)
    assert seen[0][1] == seen[1][1]
