"""What the app keeps of an embedding whose key it knows."""

from __future__ import annotations

import base64

import pytest

from cvat_lambda.gateway.payload import BINARY_TYPE, content_type
from cvat_lambda.interactive.embeddings import StoredEmbedding


@pytest.mark.parametrize(
    ("data", "sent_as"),
    [(bytes(24), BINARY_TYPE), (base64.b64encode(bytes(24)).decode(), "application/json")],
    ids=["binary", "json"],
)
def test_members_that_a_function_adds_to_an_embedding_are_not_kept_beside_its_key(
    data: str | bytes, sent_as: str
) -> None:
    """A process keeps this of thousands of embeddings."""
    embedding = {"data": data, "shape": [1, 2, 3], "dtype": "float32", "more": "m" * 200_000}
    stored = StoredEmbedding.of(embedding, image_size=(64, 48), revision="r1", key="k1")
    small = stored.without_content()
    assert len(repr(small)) < 1000
    assert (small.image_size, small.revision, small.key) == ((64, 48), "r1", "k1")
    assert content_type(small.body_without_content({})) == sent_as
