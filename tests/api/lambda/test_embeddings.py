"""Clicks on an image whose embedding is cached."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.functions import registry
from tests.conftest import ClientFor
from tests.http_server import Reply
from tests.integration.interactive.functions import Functions

from .conftest import BROWSER, Api, ApiOf

EMBEDDING = {
    "data": base64.b64encode(bytes(4 * 6)).decode(),
    "shape": [1, 2, 3],
    "dtype": "float32",
    "image_size": [48, 64],
    "version": "1",
}
MASK = {"mask": [[0, 1], [1, 1]], "bounds": [0, 0, 1, 1]}
_numbers = itertools.count()


def behave(payload: dict[str, Any]) -> Any:
    return {**MASK, "embedding": EMBEDDING} if payload.get("want") == "embedding" else MASK


@pytest.fixture
def sam(functions: Functions, clean_redis: str) -> str:
    """An interactor that can return embeddings. Each test has its own."""
    return str(functions.add(f"sam-{next(_numbers)}", behave, type="interactor", embedding="true"))


def click(api: Api, function_id: str, **members: Any) -> Any:
    return api.call(function_id, pos_points=[[3, 4]], neg_points=[], **members)


def asked(functions: Functions, function_id: str) -> list[str]:
    """Return which of image, embedding and want each invocation of the function had."""
    return [
        "+".join(name for name in ("image", "embedding", "want") if name in payload)
        for payload in functions.asked[function_id]
    ]


def test_second_click_on_an_image_sends_the_embedding_without_the_image(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    for _ in range(3):
        answer = click(api, sam, task=task.pk, frame=0)
        assert (answer.status_code, answer.json()) == (200, MASK)
    assert asked(functions, sam) == ["image+want", "embedding", "embedding"]
    assert functions.asked[sam][1] == {
        "pos_points": [[3, 4]],
        "neg_points": [],
        "obj_bbox": None,
        "embedding": EMBEDDING,
    }


def prepare(api: Api, function_id: str, **members: Any) -> Any:
    return api.call(function_id, want="embedding", **members)


def test_embedding_that_was_prepared_serves_the_first_click(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    for _ in range(2):
        answer = prepare(api, sam, task=task.pk, frame=0)
        assert (answer.status_code, answer.json()) == (200, {"prepared": True})
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "embedding"]


def test_preparing_an_interactor_without_embeddings_invokes_nothing(
    api: Api, functions: Functions, task: Task, clean_redis: str
) -> None:
    plain = functions.add(f"plain-{next(_numbers)}", behave, type="interactor")
    assert prepare(api, plain, task=task.pk, frame=0).json() == {"prepared": False}
    assert functions.asked.get(plain, []) == []


def test_preparing_where_nothing_can_be_cached_invokes_nothing(
    api: Api, functions: Functions, task: Task, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 0
    sam = functions.add(f"sam-{next(_numbers)}", behave, type="interactor", embedding="true")
    assert prepare(api, sam, task=task.pk, frame=0).json() == {"prepared": False}
    assert functions.asked.get(sam, []) == []


def test_preparing_a_frame_of_a_task_of_another_user_answers_403(
    api_of: ApiOf, charlie: User, functions: Functions, task: Task, sam: str
) -> None:
    assert prepare(api_of(charlie), sam, task=task.pk, frame=0).status_code == 403
    assert functions.asked.get(sam, []) == []


def test_click_of_another_user_on_the_same_image_sends_no_image(
    api: Api, api_of: ApiOf, bob: User, functions: Functions, task: Task, sam: str
) -> None:
    models.Task.objects.filter(pk=task.pk).update(assignee=bob)
    click(api, sam, task=task.pk, frame=0)
    assert click(api_of(bob), sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "embedding"]


def test_click_on_another_frame_region_or_version_sends_the_image(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    click(api, sam, task=task.pk, frame=0)
    click(api, sam, task=task.pk, frame=1)
    click(api, sam, task=task.pk, frame=0, roi=[0, 0, 32, 32])
    functions.objects[sam]["metadata"]["annotations"]["version"] = "2"
    registry.refresh(force=True)
    click(api, sam, task=task.pk, frame=0)
    assert asked(functions, sam) == ["image+want"] * 4


def test_click_with_a_cached_embedding_of_a_region_uses_its_coordinates(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    for _ in range(2):
        answer = click(api, sam, task=task.pk, frame=0, roi=[2, 3, 100, 100])
        assert answer.json()["bounds"] == [2, 3, 3, 4]
    assert asked(functions, sam) == ["image+want", "embedding"]
    assert functions.asked[sam][1]["pos_points"] == [[1, 1]]


def test_two_simultaneous_first_clicks_compute_one_embedding(
    transactional_db: None,
    client_for: ClientFor,
    functions: Functions,
    clean_redis: str,
    task: Task,
    alice: User,
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(payload: dict[str, Any]) -> Any:
        if "want" in payload:
            inside.set()
            assert go_on.wait(180)
        return behave(payload)

    sam = functions.add(f"sam-{next(_numbers)}", slow, type="interactor", embedding="true")
    body = {"task": task.pk, "frame": 0, "pos_points": [[3, 4]], "neg_points": []}

    def one_click(client: Any) -> int:
        try:
            path = f"/api/lambda/functions/{sam}"
            return int(client.post(path, body, content_type="application/json").status_code)
        finally:
            connection.close()

    clients = [client_for(alice), client_for(alice)]
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(one_click, clients[0])
        assert inside.wait(180)
        second = threads.submit(one_click, clients[1])
        go_on.set()
        assert (first.result(180), second.result(180)) == (200, 200)
    assert asked(functions, sam) == ["image+want", "embedding"]


def test_click_sends_the_image_where_nothing_can_be_cached(
    api: Api, functions: Functions, task: Task, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 0  # has the same effect as a Redis that is down
    sam = functions.add(f"sam-{next(_numbers)}", behave, type="interactor", embedding="true")
    for _ in range(2):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image", "image"]


def test_embedding_that_the_function_refuses_is_computed_again(
    api: Api, functions: Functions, task: Task, clean_redis: str
) -> None:
    def forgetful(payload: dict[str, Any]) -> Any:
        if "embedding" in payload:
            return Reply(400, "this embedding is of another version")
        return behave(payload)

    sam = functions.add(f"sam-{next(_numbers)}", forgetful, type="interactor", embedding="true")
    for _ in range(2):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "embedding", "image+want"]


def test_redeployed_interactor_does_not_get_the_embedding_of_its_predecessor(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    """The cached function list may be older than the deploy. The answer names the revision."""
    functions.revisions[sam] = "r1"
    for _ in range(2):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    functions.revisions[sam] = "r2"
    wrong = {"mask": [[1, 1], [1, 1]], "bounds": [0, 0, 1, 1]}

    def redeployed(payload: dict[str, Any]) -> Any:
        if payload.get("embedding") == EMBEDDING:
            return wrong
        answer = behave(payload)
        if "embedding" in answer:
            answer["embedding"] = {**EMBEDDING, "version": "2"}
        return answer

    functions.behaviours[sam] = redeployed
    for _ in range(2):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == [
        "image+want",
        "embedding",
        "embedding",  # The answer is from another revision, so it is discarded.
        "image+want",
        "embedding",
    ]
    assert functions.asked[sam][-1]["embedding"]["version"] == "2"


def test_click_on_an_interactor_that_hangs_ends_at_its_time_limit_and_is_not_repeated(
    api: Api, functions: Functions, task: Task, clean_redis: str, settings: Settings
) -> None:
    """Two attempts of 30 s and the waits between them took 91 s."""
    settings.CVAT_LAMBDA_CALL_TIMEOUT_S = 1
    resumed = threading.Event()

    def hang(payload: dict[str, Any]) -> Any:
        resumed.wait(60)
        return behave(payload)

    sam = f"sam-{next(_numbers)}"
    functions.put(sam, hang, type="interactor", embedding="true")
    trigger = functions.objects[sam]["spec"]["triggers"]["http"]
    trigger["workerAvailabilityTimeoutMilliseconds"] = 100
    registry.refresh(force=True)
    try:
        answer = click(api, sam, task=task.pk, frame=0)
    finally:
        resumed.set()
    assert (answer.status_code, answer.json()["code"]) == (504, "function_timeout")
    assert asked(functions, sam) == ["image+want"]


def test_embedding_that_makes_a_redeployed_interactor_fail_is_replaced(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    assert click(api, sam, task=task.pk, frame=0).json() == MASK

    def redeployed(payload: dict[str, Any]) -> Any:
        return Reply(500, "shapes do not match") if "embedding" in payload else behave(payload)

    functions.behaviours[sam] = redeployed
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "embedding", "image+want"]


@pytest.mark.parametrize(
    "embedding",
    [
        None,
        "text",
        {**EMBEDDING, "data": 5},
        {**EMBEDDING, "data": "AAAA"},
        {**EMBEDDING, "shape": [1, -2, 3]},
        {**EMBEDDING, "shape": 6},
        {**EMBEDDING, "dtype": "object"},
    ],
)
def test_malformed_embedding_is_not_cached(
    api: Api,
    functions: Functions,
    task: Task,
    clean_redis: str,
    caplog: pytest.LogCaptureFixture,
    embedding: object,
) -> None:
    sam = functions.add(
        f"sam-{next(_numbers)}",
        lambda payload: {**MASK, "embedding": embedding},
        type="interactor",
        embedding="true",
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "image"]
    assert f"the embedding of function '{sam}' cannot be kept" in caplog.text


@pytest.mark.parametrize("member", ["1e999", "[" * 500 + "-1e999" + "]" * 500])
def test_embedding_with_a_number_that_is_not_finite_is_not_cached(
    api: Api,
    functions: Functions,
    task: Task,
    clean_redis: str,
    caplog: pytest.LogCaptureFixture,
    member: str,
) -> None:
    """Such a number in an unchecked member caused an internal error."""
    body = json.dumps({**MASK, "embedding": {**EMBEDDING, "x": 0}}).replace(
        '"x": 0', f'"x": {member}'
    )
    sam = functions.add(
        f"sam-{next(_numbers)}",
        lambda payload: Reply(200, body),
        type="interactor",
        embedding="true",
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            answer = click(api, sam, task=task.pk, frame=0)
            assert (answer.status_code, answer.json()) == (200, MASK)
    assert asked(functions, sam) == ["image+want", "image"]
    assert f"the embedding of function '{sam}' cannot be kept: it holds a number" in caplog.text


def test_embedding_that_is_too_large_to_send_back_is_not_cached(
    api: Api, functions: Functions, task: Task, clean_redis: str, caplog: pytest.LogCaptureFixture
) -> None:
    sam = functions.add(f"sam-{next(_numbers)}", behave, type="interactor", embedding="true")
    functions.limit_body(sam, 64 * 1024)
    for _ in range(2):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "image"]
    assert "maxRequestBodySize" in caplog.text


def test_interactor_without_embeddings_is_not_asked_for_one(
    api: Api, functions: Functions, task: Task
) -> None:
    sam = functions.add(f"sam-{next(_numbers)}", behave, type="interactor", embedding="false")
    click(api, sam, task=task.pk, frame=0)
    assert asked(functions, sam) == ["image"]


def test_frame_number_is_checked_also_with_a_cached_embedding(
    api: Api, task: Task, jobs: list[int], sam: str
) -> None:
    click(api, sam, task=task.pk, frame=2)
    assert click(api, sam, job=jobs[0], frame=2).json()["code"] == "frame_out_of_scope"


# CVAT's Segment Anything. CVAT's page decodes its answers.

SAM = "pth-facebookresearch-sam-vit-h"
BLOB = EMBEDDING["data"]


def segment_anything(payload: dict[str, Any]) -> Any:
    """Answer as serverless/pytorch/facebookresearch/sam_vit_h does."""
    want, prompt = payload.get("want"), bool(payload["pos_points"] or payload["obj_bbox"])
    mask = MASK if prompt and want != "blob" else {}
    if want == "embedding":
        return {"embedding": EMBEDDING, **mask}
    if want == "blob" or (want is None and "embedding" not in payload):
        return {"blob": BLOB, **mask}
    return mask or Reply(400, "there is no positive point")


@pytest.fixture
def cvats_sam(functions: Functions, clean_redis: str) -> str:
    """Our Segment Anything with CVAT's id. A version of its own keeps its embeddings apart."""
    return str(
        functions.add(
            SAM,
            segment_anything,
            type="interactor",
            embedding="true",
            min_pos_points="0",
            version=str(1000 + next(_numbers)),
        )
    )


def browse(api: Api, task: Task, **members: Any) -> Any:
    """Send a click as CVAT's page does."""
    body = {"task": task.pk, "frame": 0, "pos_points": [[3, 4]], "neg_points": [], "obj_bbox": []}
    return api.post(f"functions/{SAM}", {**body, **members}, BROWSER)


def test_browser_gets_the_blob_with_one_invocation(
    api: Api, functions: Functions, task: Task, cvats_sam: str
) -> None:
    for _ in range(3):
        answer = browse(api, task)
        assert (answer.status_code, answer.json()) == (200, {"blob": BLOB})
    assert asked(functions, SAM) == ["image+want"]


def test_client_other_than_a_browser_gets_blob_and_mask_of_the_cached_embedding(
    api: Api, functions: Functions, task: Task, cvats_sam: str
) -> None:
    for _ in range(2):
        answer = click(api, SAM, task=task.pk, frame=0)
        assert (answer.status_code, answer.json()) == (200, {**MASK, "blob": BLOB})
    assert asked(functions, SAM) == ["image+want", "embedding"]


def test_blob_is_made_from_the_embedding_of_another_users_click(
    api: Api, functions: Functions, task: Task, cvats_sam: str
) -> None:
    assert click(api, SAM, task=task.pk, frame=0, want="mask").json() == MASK
    assert browse(api, task).json() == {"blob": BLOB}
    assert click(api, SAM, task=task.pk, frame=0, want="mask").json() == MASK
    assert asked(functions, SAM) == ["image+want", "embedding"]


def test_call_without_a_point_returns_the_blob_only(
    api: Api, functions: Functions, task: Task, cvats_sam: str
) -> None:
    for _ in range(2):
        answer = api.call(SAM, task=task.pk, frame=0, pos_points=[], neg_points=[], obj_bbox=[])
        assert (answer.status_code, answer.json()) == (200, {"blob": BLOB})
    assert asked(functions, SAM) == ["image+want"]


@pytest.mark.parametrize(
    ("want", "by_browser", "sent", "answered"),
    [
        (None, False, None, {**MASK, "blob": BLOB}),
        (None, True, "blob", {"blob": BLOB}),
        ("mask", True, "mask", MASK),
        ("blob", False, "blob", {"blob": BLOB}),
    ],
)
def test_call_without_redis_sends_the_wanted_format_to_the_function(
    api: Api,
    functions: Functions,
    task: Task,
    settings: Settings,
    cvats_sam: str,
    want: str | None,
    by_browser: bool,
    sent: str | None,
    answered: dict[str, Any],
) -> None:
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 0
    body = {"task": task.pk, "frame": 0, "pos_points": [[3, 4]], "neg_points": [], "want": want}
    answer = api.post(f"functions/{SAM}", body, BROWSER if by_browser else None)
    assert (answer.status_code, answer.json()) == (200, answered)
    assert functions.asked[SAM][0].get("want") == sent


def test_embedding_that_is_not_float32_is_not_returned_as_blob(
    api: Api, functions: Functions, task: Task, clean_redis: str
) -> None:
    half = {**EMBEDDING, "data": base64.b64encode(bytes(2 * 6)).decode(), "dtype": "float16"}

    def halves(payload: dict[str, Any]) -> Any:
        return {**MASK, "embedding": half} if payload.get("want") == "embedding" else {"blob": BLOB}

    functions.add(SAM, halves, type="interactor", embedding="true", version="999")
    for _ in range(2):
        assert browse(api, task).json() == {"blob": BLOB}
    assert [payload.get("want") for payload in functions.asked[SAM]] == [
        "embedding",
        "blob",
        "blob",
    ]


def test_answer_of_cvats_segment_anything_is_passed_to_the_browser_unchanged(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add(SAM, lambda payload: {"blob": BLOB}, type="interactor")
    assert browse(api, task).json() == {"blob": BLOB}
    assert click(api, SAM, task=task.pk, frame=0, want="mask").json() == {"blob": BLOB}
    assert asked(functions, SAM) == ["image", "image"]


def test_browser_gets_the_mask_of_an_interactor_with_another_id(
    api: Api, task: Task, sam: str
) -> None:
    for _ in range(2):
        body = {"task": task.pk, "frame": 0, "pos_points": [[3, 4]], "neg_points": []}
        assert api.post(f"functions/{sam}", body, BROWSER).json() == MASK
    # The cached embedding is returned as a blob if `want` says so.
    assert click(api, sam, task=task.pk, frame=0, want="blob").json() == {"blob": BLOB}


def test_want_other_than_mask_or_blob_is_refused(api: Api, task: Task, sam: str) -> None:
    answer = click(api, sam, task=task.pk, frame=0, want="everything")
    assert (answer.status_code, list(answer.json())) == (400, ["want"])
