"""Clicks on an interactor that keeps its last embeddings, so that the app sends a key alone."""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from pytest_django import Settings

from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.functions import registry
from cvat_lambda.gateway.payload import BINARY_TYPE, encode_payload
from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.embedding_store import PREFIX
from tests.http_server import Reply
from tests.integration.interactive.functions import Functions

from .conftest import Api, ApiOf
from .test_embeddings import EMBEDDING, MASK, asked, click

_numbers = itertools.count()
UNKNOWN = Reply(410, json.dumps({"error": "it is not in memory", "code": "embedding_unknown"}))


@dataclass
class Keeper:
    """A function with worker processes, each of which keeps embeddings of its own."""

    binary: bool = False
    workers: list[set[str]] = field(default_factory=lambda: [set()])  # the keys of each process
    turn: int = 0  # the process that answers next

    def answer(self, payload: dict[str, Any]) -> Any:
        kept = self.workers[self.turn % len(self.workers)]
        self.turn += 1
        key = payload.get("embedding_key")
        if "image" not in payload and "embedding" not in payload and key not in kept:
            return UNKNOWN
        if key is not None:
            kept.add(key)
        answer: dict[str, Any] = dict(MASK)
        if payload.get("want") == "embedding":
            answer["embedding"] = {**EMBEDDING, "data": bytes(24)} if self.binary else EMBEDDING
        if not self.binary:
            return answer
        return Reply(200, encode_payload(answer, binary=True), {"Content-Type": BINARY_TYPE})


@pytest.fixture(params=[False, True], ids=["json", "binary"])
def keeper(request: pytest.FixtureRequest) -> Keeper:
    return Keeper(binary=request.param)


def set_workers(functions: Functions, function_id: str, number: int) -> None:
    """Let a function announce a number of worker processes."""
    functions.objects[function_id]["spec"]["triggers"]["http"]["numWorkers"] = number
    registry.refresh(force=True)


@pytest.fixture
def sam(functions: Functions, keeper: Keeper, clean_redis: str) -> str:
    """An interactor of one worker process that keeps embeddings. Each test has its own."""
    name = functions.add(
        f"keeps-{next(_numbers)}",
        keeper.answer,
        type="interactor",
        embedding="true",
        keeps_embeddings="true",
        binary=str(keeper.binary).lower(),
    )
    set_workers(functions, name, 1)
    return name


def keys(functions: Functions, function_id: str) -> list[str | None]:
    """Return the key of each invocation of the function."""
    return [payload.get("embedding_key") for payload in functions.asked[function_id]]


def test_later_click_sends_the_key_without_the_embedding(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    for _ in range(3):
        answer = click(api, sam, task=task.pk, frame=0)
        assert (answer.status_code, answer.json()) == (200, MASK)
    assert asked(functions, sam) == ["image+want", "", ""]
    (key,) = set(keys(functions, sam))
    assert key is not None
    assert functions.asked[sam][1] == {
        "pos_points": [[3, 4]],
        "neg_points": [],
        "obj_bbox": None,
        "embedding_key": key,
    }


def test_click_with_a_key_does_not_read_the_embedding(
    api: Api, functions: Functions, task: Task, sam: str, clean_redis: str
) -> None:
    """The process keeps the megabytes of a few images, and the keys of thousands."""
    for _ in range(2):
        click(api, sam, task=task.pk, frame=0)
    get_caches().embeddings.reset()
    with redis.Redis.from_url(clean_redis) as client:
        client.flushall()
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "", ""]


def test_click_sends_the_image_after_the_function_and_redis_have_lost_the_embedding(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str, clean_redis: str
) -> None:
    click(api, sam, task=task.pk, frame=0)
    keeper.workers[0].clear()
    get_caches().embeddings.reset()
    with redis.Redis.from_url(clean_redis) as client:
        client.flushall()
    for _ in range(3):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "", "image+want", "", ""]
    first, unknown, second, *later = keys(functions, sam)
    assert first == unknown != second
    assert set(later) == {second}


def test_click_with_a_key_renews_the_age_of_the_embedding_in_redis(
    api: Api, functions: Functions, task: Task, sam: str, clean_redis: str, settings: Settings
) -> None:
    click(api, sam, task=task.pk, frame=0)
    with redis.Redis.from_url(clean_redis) as client:
        found = client.scan_iter(match=PREFIX + "*")
        (name,) = (key for key in found if client.type(key) == b"string")
        client.persist(name)
        settings.CVAT_LAMBDA_EMBEDDING_TTL_S = 7
        get_caches().embeddings.reset()
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
        assert 0 < client.ttl(name) <= 7
    assert asked(functions, sam) == ["image+want", ""]


def test_click_sends_the_embedding_after_the_function_has_lost_it(
    api: Api,
    functions: Functions,
    task: Task,
    keeper: Keeper,
    sam: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was evicted, or the function was restarted."""
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    keeper.workers[0].clear()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "", "embedding", ""]
    assert len(set(keys(functions, sam))) == 1
    assert "answered 410" not in caplog.text  # this is expected


def test_each_worker_process_of_the_function_gets_the_embedding_once(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str
) -> None:
    keeper.workers = [set(), set(), set()]
    set_workers(functions, sam, 3)
    for _ in range(6):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "embedding", "embedding", "", "", ""]


def test_worker_process_that_was_restarted_gets_the_embedding_within_a_few_clicks(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str
) -> None:
    keeper.workers = [set(), set()]
    set_workers(functions, sam, 2)
    for _ in range(4):
        click(api, sam, task=task.pk, frame=0)
    keeper.workers[keeper.turn % 2] = set()
    functions.asked[sam].clear()
    for _ in range(4):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    # The answer to the first key is that it is unknown. Then both workers get the embedding.
    assert asked(functions, sam) == ["", "embedding", "embedding", "", ""]


def test_new_web_process_sends_the_key_of_an_embedding_that_another_one_stored(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    click(api, sam, task=task.pk, frame=0)
    get_caches().reset()
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", ""]


def test_function_that_keeps_nothing_answers_each_click_with_the_embedding(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str
) -> None:
    for _ in range(3):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
        keeper.workers = [set()]  # as a function whose limit is lower than one embedding
    assert asked(functions, sam) == ["image+want", *("", "embedding") * 2]


def test_function_that_does_not_announce_it_gets_no_key(
    api: Api, functions: Functions, task: Task, keeper: Keeper, clean_redis: str
) -> None:
    binary = str(keeper.binary).lower()
    plain = functions.add(
        f"keeps-{next(_numbers)}",
        keeper.answer,
        type="interactor",
        embedding="true",
        binary=binary,
    )
    for _ in range(2):
        assert click(api, plain, task=task.pk, frame=0).json() == MASK
    assert asked(functions, plain) == ["image+want", "embedding"]
    assert keys(functions, plain) == [None, None]


def test_embeddings_have_different_keys_that_do_not_depend_on_the_image(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    """A key that could be computed would be one for another user's image, too."""
    for frame in (0, 1):
        click(api, sam, task=task.pk, frame=frame)
    found = keys(functions, sam)
    assert len(set(found)) == 2
    assert all(key is not None and len(key) == 32 for key in found)
    again = [payload for payload in functions.asked[sam] if "image" in payload]
    assert len(again) == 2


def test_key_in_the_body_of_a_user_is_not_sent_to_the_function(
    api: Api, api_of: ApiOf, functions: Functions, task: Task, charlie: User, sam: str
) -> None:
    click(api, sam, task=task.pk, frame=0)
    (key,) = keys(functions, sam)
    stolen = click(api_of(charlie), sam, task=task.pk, frame=0, embedding_key=key)
    assert stolen.status_code == 403
    answer = click(api, sam, task=task.pk, frame=1, embedding_key=key)
    assert answer.status_code == 200
    assert keys(functions, sam)[1] != key
    assert asked(functions, sam) == ["image+want", "image+want"]


def test_answer_to_a_key_from_another_revision_is_discarded(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    functions.revisions[sam] = "r1"
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    functions.revisions[sam] = "r2"
    for _ in range(2):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    # The answer to the key is from another revision, so the image is sent anew.
    assert asked(functions, sam) == ["image+want", "", "image+want", ""]
    assert len(set(keys(functions, sam))) == 2


@pytest.mark.parametrize(
    "failure", [Reply(500, "it failed"), Reply(400, "unknown field"), Reply(410, "")]
)
def test_function_that_fails_on_a_key_and_on_the_embedding_gets_the_image(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str, failure: Reply
) -> None:
    assert click(api, sam, task=task.pk, frame=0).json() == MASK

    def fails(payload: dict[str, Any]) -> Any:
        return keeper.answer(payload) if "image" in payload else failure

    functions.behaviours[sam] = fails
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", "", "embedding", "image+want"]


@pytest.mark.parametrize("failure", [Reply(500, "it failed"), Reply(400, "there is no image")])
def test_function_that_announces_keys_but_fails_on_them_gets_the_embedding_and_not_the_image(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str, failure: Reply
) -> None:
    """The image takes the function seconds, the embedding milliseconds."""

    def fails(payload: dict[str, Any]) -> Any:
        known = "image" in payload or "embedding" in payload
        return keeper.answer(payload) if known else failure

    functions.behaviours[sam] = fails
    for _ in range(3):
        assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", *("", "embedding") * 2]


def test_function_that_asks_for_the_embedding_of_each_image_is_named_in_the_error(
    api: Api, functions: Functions, task: Task, keeper: Keeper, sam: str
) -> None:
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    functions.behaviours[sam] = lambda payload: UNKNOWN
    answer = click(api, sam, task=task.pk, frame=0)
    assert (answer.status_code, answer.json()["code"]) == (502, "function_answer_invalid")
    assert f"function '{sam}' asks for an embedding" in answer.json()["message"]
    assert asked(functions, sam) == ["image+want", "", "embedding", "image+want"]


def test_embedding_that_was_prepared_has_a_key_for_the_first_click(
    api: Api, functions: Functions, task: Task, sam: str
) -> None:
    prepared = api.call(sam, want="embedding", task=task.pk, frame=0)
    assert prepared.json() == {"prepared": True}
    assert click(api, sam, task=task.pk, frame=0).json() == MASK
    assert asked(functions, sam) == ["image+want", ""]
    assert len(set(keys(functions, sam))) == 1
