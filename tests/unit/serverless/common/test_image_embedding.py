"""The embeddings that a worker process of an interactor keeps."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from common.answers import answer
from common.errors import BadInput, EmbeddingUnknown
from common.image_embedding import KEPT_MB_VARIABLE, ImageEmbedding, KeptEmbeddings
from common.images import encode_png
from nuclio_sdk import Event, Response

SHAPE = (2, 3)
SIZE = 24  # bytes of an embedding
IMAGE = encode_png(np.zeros((4, 5, 3), np.uint8))  # base64


def embedding(number: float = 0.0) -> ImageEmbedding:
    return ImageEmbedding(np.full(SHAPE, number, np.float32), (4, 5))


class Interactor:
    """What models do with the embedding of a call."""

    def __init__(self, limit: int | None = 10**6) -> None:
        self._kept = KeptEmbeddings(limit)

    def read(self, body: dict[str, Any]) -> ImageEmbedding:
        return self._kept.read(body, lambda image: embedding(7.0), version="v", shape=SHAPE)

    def send(self, key: str, number: float = 0.0) -> None:
        """Send an embedding with a key."""
        self.read({"embedding": embedding(number).to_json(version="v"), "embedding_key": key})

    def knows(self, key: str) -> bool:
        try:
            self.read({"embedding_key": key})
        except EmbeddingUnknown:
            return False
        return True


def test_embedding_of_an_image_is_found_by_its_key_later() -> None:
    model = Interactor()
    first = model.read({"image": IMAGE, "embedding_key": "k"})
    assert model.read({"embedding_key": "k"}) is first


def test_embedding_that_was_sent_is_found_by_its_key_later() -> None:
    model = Interactor()
    model.send("k", 3.0)
    assert model.read({"embedding_key": "k"}).values.tolist() == [[3.0] * 3] * 2


def test_embedding_without_a_key_is_not_kept() -> None:
    model = Interactor()
    model.read({"embedding": embedding().to_json(version="v")})
    assert not model.knows("k")


def test_embedding_of_another_version_is_refused_and_not_kept() -> None:
    model = Interactor()
    sent = embedding().to_json(version="w")
    with pytest.raises(BadInput, match="version"):
        model.read({"embedding": sent, "embedding_key": "k"})
    assert not model.knows("k")


def test_image_beside_a_known_key_replaces_the_embedding() -> None:
    model = Interactor()
    model.send("k", 3.0)
    model.read({"image": IMAGE, "embedding_key": "k"})
    assert float(model.read({"embedding_key": "k"}).values[0, 0]) == 7.0


@pytest.mark.parametrize("key", ["", 5, ["k"], "k" * 129])
def test_malformed_key_is_refused(key: object) -> None:
    with pytest.raises(BadInput, match="'embedding_key'"):
        Interactor().read({"image": IMAGE, "embedding_key": key})


def test_call_with_neither_image_nor_embedding_nor_key_is_refused() -> None:
    with pytest.raises(BadInput, match="'image'"):
        Interactor().read({})


def test_unknown_key_is_answered_with_410_and_a_code() -> None:
    event = Event(body={"embedding_key": "k"})
    response = answer(SimpleNamespace(Response=Response), event, Interactor().read)
    assert response.status_code == 410
    assert json.loads(response.body)["code"] == "embedding_unknown"


def test_least_recently_used_embedding_is_evicted_at_the_limit() -> None:
    model = Interactor(2 * SIZE)
    model.send("a")
    model.send("b")
    assert model.knows("a")
    model.send("c")
    assert [model.knows(key) for key in "abc"] == [True, False, True]


def test_embedding_above_the_limit_is_not_kept() -> None:
    model = Interactor(SIZE - 1)
    model.send("a")
    assert not model.knows("a")


def test_same_key_sent_many_times_counts_once_against_the_limit() -> None:
    model = Interactor(2 * SIZE)
    model.send("a")
    for _ in range(5):
        model.send("b")
    assert model.knows("a")


@pytest.mark.parametrize(("megabytes", "is_kept"), [("", True), ("1", True), ("0", False)])
def test_environment_sets_the_limit(
    monkeypatch: pytest.MonkeyPatch, megabytes: str, is_kept: bool
) -> None:
    monkeypatch.setenv(KEPT_MB_VARIABLE, megabytes)
    model = Interactor(None)
    model.send("a")
    assert model.knows("a") == is_kept


def test_threads_of_one_process_share_the_embeddings_within_the_limit() -> None:
    model = Interactor(4 * SIZE)

    def work(name: str) -> None:
        for number in range(200):
            model.send(f"{name}-{number % 6}")
            model.knows(f"{name}-{number % 3}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(model.knows(f"{name}-{number}") for name in "abcd" for number in range(6)) == 4
