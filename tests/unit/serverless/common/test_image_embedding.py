"""The embeddings that a worker process of an interactor keeps."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from common import image_embedding
from common.answers import answer
from common.errors import BadInput, EmbeddingUnknown
from common.image_embedding import ImageEmbedding, KeptEmbeddings, read_embedding
from common.images import encode_png
from nuclio_sdk import Event, Response

SHAPE = (2, 3)
IMAGE = encode_png(np.zeros((4, 5, 3), np.uint8))  # base64


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep nothing at the start, as a new process."""
    monkeypatch.setattr(image_embedding, "_kept", KeptEmbeddings(10**6))


def embedding(number: float = 0.0) -> ImageEmbedding:
    return ImageEmbedding(np.full(SHAPE, number, np.float32), (4, 5))


def read(body: dict[str, Any], *, version: str = "v") -> ImageEmbedding:
    return read_embedding(body, lambda image: embedding(7.0), version=version, shape=SHAPE)


def test_embedding_of_an_image_is_found_by_its_key_later() -> None:
    first = read({"image": IMAGE, "embedding_key": "k"})
    assert read({"embedding_key": "k"}) is first


def test_embedding_that_was_sent_is_found_by_its_key_later() -> None:
    sent = embedding(3.0).to_json(version="v")
    read({"embedding": sent, "embedding_key": "k"})
    assert read({"embedding_key": "k"}).values.tolist() == [[3.0] * 3] * 2


def test_embedding_without_a_key_is_not_kept() -> None:
    read({"embedding": embedding().to_json(version="v")})
    with pytest.raises(EmbeddingUnknown):
        read({"embedding_key": "k"})


def test_embedding_of_another_version_of_the_weights_is_unknown() -> None:
    read({"image": IMAGE, "embedding_key": "k"})
    with pytest.raises(EmbeddingUnknown):
        read({"embedding_key": "k"}, version="w")


def test_image_beside_a_known_key_replaces_the_embedding() -> None:
    read({"embedding": embedding(3.0).to_json(version="v"), "embedding_key": "k"})
    read({"image": IMAGE, "embedding_key": "k"})
    assert float(read({"embedding_key": "k"}).values[0, 0]) == 7.0


@pytest.mark.parametrize("key", ["", 5, ["k"], "k" * 129])
def test_malformed_key_is_refused(key: object) -> None:
    with pytest.raises(BadInput, match="'embedding_key'"):
        read({"image": IMAGE, "embedding_key": key})


def test_call_with_neither_image_nor_embedding_nor_key_is_refused() -> None:
    with pytest.raises(BadInput, match="'image'"):
        read({})


def test_unknown_key_is_answered_with_410_and_a_code() -> None:
    response = answer(SimpleNamespace(Response=Response), Event(body={"embedding_key": "k"}), read)
    assert response.status_code == 410
    assert json.loads(response.body)["code"] == "embedding_unknown"


def test_least_recently_used_embedding_is_evicted_at_the_limit() -> None:
    one = embedding().values.nbytes
    kept = KeptEmbeddings(2 * one)
    for key in ("a", "b"):
        kept.put(key, embedding(), version="v")
    kept.get("a", version="v")
    kept.put("c", embedding(), version="v")
    for key, is_kept in (("a", True), ("b", False), ("c", True)):
        if is_kept:
            kept.get(key, version="v")
        else:
            with pytest.raises(EmbeddingUnknown):
                kept.get(key, version="v")


def test_embedding_above_the_limit_is_not_kept_and_evicts_nothing() -> None:
    one = embedding().values.nbytes
    kept = KeptEmbeddings(one)
    kept.put("a", embedding(), version="v")
    kept.put("b", ImageEmbedding(np.zeros((3, 3), np.float32), (4, 5)), version="v")
    kept.get("a", version="v")
    with pytest.raises(EmbeddingUnknown):
        kept.get("b", version="v")


def test_same_key_put_many_times_counts_once_against_the_limit() -> None:
    one = embedding().values.nbytes
    kept = KeptEmbeddings(2 * one)
    kept.put("a", embedding(), version="v")
    for _ in range(5):
        kept.put("b", embedding(), version="v")
    kept.get("a", version="v")


def test_threads_of_one_process_share_the_embeddings_within_the_limit() -> None:
    one = embedding().values.nbytes
    kept = KeptEmbeddings(4 * one)

    def work(name: str) -> None:
        for number in range(200):
            kept.put(f"{name}-{number % 6}", embedding(), version="v")
            try:
                kept.get(f"{name}-{number % 3}", version="v")
            except EmbeddingUnknown:
                pass

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = 0
    for name in "abcd":
        for number in range(6):
            try:
                kept.get(f"{name}-{number}", version="v")
                found += 1
            except EmbeddingUnknown:
                pass
    assert found == 4
