"""Detectors' calls: one image or several, a threshold, images that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from common.detection import answer_image, answer_images, answer_images_together
from common.errors import BadInput
from common.images import encode_png

Answer = Any
SMALL, LARGE = (encode_png(np.zeros((side, 3, 3), dtype=np.uint8)) for side in (2, 9))


def detect(image: np.ndarray, threshold: float) -> list[dict[str, Any]]:
    return [{"rows": image.shape[0], "threshold": threshold}]


def detect_all(images: Sequence[np.ndarray], threshold: float) -> list[list[dict[str, Any]]]:
    assert images, "a network cannot run an empty batch"
    return [detect(image, threshold) for image in images]


def one_by_one(body: dict[str, Any]) -> object:
    return answer_images(body, detect, default_threshold=0.5, max_batch=3)


def together(body: dict[str, Any]) -> object:
    return answer_images_together(body, detect_all, default_threshold=0.5, max_batch=3)


def single(body: dict[str, Any]) -> object:
    return answer_image(body, detect, default_threshold=0.5)


BATCHING = pytest.mark.parametrize("answer", [one_by_one, together])


@pytest.mark.parametrize("answer", [single, one_by_one, together])
@pytest.mark.parametrize(
    ("sent", "used"), [({}, 0.5), ({"threshold": 0}, 0), ({"threshold": 1}, 1)]
)
def test_one_image_is_answered_by_its_items(
    answer: Answer, sent: dict[str, Any], used: float
) -> None:
    assert answer({"image": SMALL, **sent}) == [{"rows": 2, "threshold": used}]


@BATCHING
def test_images_are_answered_in_order(answer: Answer) -> None:
    results = answer({"images": [LARGE, SMALL, LARGE], "threshold": 0.2})["results"]
    assert [item["rows"] for [item] in results] == [9, 2, 9]
    assert {item["threshold"] for [item] in results} == {0.2}


@BATCHING
def test_an_unreadable_image_of_a_batch_gives_an_error_in_its_position(answer: Answer) -> None:
    error = {
        "error": "'images[1]' cannot be decoded; send a whole PNG, JPEG, WebP, BMP or TIFF file "
        "in base64"
    }
    first, second, third = answer({"images": [SMALL, "AAAA", LARGE]})["results"]
    assert (first[0]["rows"], second, third[0]["rows"]) == (2, error, 9)


@BATCHING
def test_a_batch_without_a_readable_image_is_answered_by_errors(answer: Answer) -> None:
    results = answer({"images": ["AAAA", "BBBB"]})["results"]
    assert [list(result) for result in results] == [["error"], ["error"]]


@BATCHING
@pytest.mark.parametrize("images", [[], None, "x", [SMALL] * 4])
def test_an_empty_or_too_large_batch_is_refused(answer: Answer, images: object) -> None:
    with pytest.raises(BadInput, match="'images'"):
        answer({"images": images})


@pytest.mark.parametrize("answer", [single, one_by_one, together])
def test_a_threshold_outside_0_to_1_is_refused(answer: Answer) -> None:
    with pytest.raises(BadInput, match="'threshold' is 2; send a number from 0 to 1"):
        answer({"image": SMALL, "threshold": 2})
