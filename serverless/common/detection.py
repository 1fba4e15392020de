"""The body of a call to a detector: one image or several, and a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import BadInput
from common.images import decode_image
from common.inputs import read_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Items = list[dict[str, Any]]
    Detect = Callable[[Image, float], Items]  # of an image and a threshold
    DetectAll = Callable[[Sequence[Image], float], Sequence[Items]]


def answer_image(body: dict[str, Any], detect: Detect, *, default_threshold: float) -> Items:
    """Return the items of ``image``."""
    threshold = read_threshold(body, default_threshold)
    return detect(decode_image(body.get("image")), threshold)


def answer_images(
    body: dict[str, Any], detect: Detect, *, default_threshold: float, max_batch: int
) -> object:
    """Return the items of ``image``, or ``{"results": [...]}`` with those of each of ``images``.

    The images are decoded and run one after the other. An image that cannot be read gives
    ``{"error": sentence}`` in its position; the others are answered.
    """
    if "images" not in body:
        return answer_image(body, detect, default_threshold=default_threshold)
    threshold = read_threshold(body, default_threshold)
    decoded = (_decode(*each) for each in enumerate(_read_images(body, max_batch=max_batch)))
    return {
        "results": [each if isinstance(each, dict) else detect(each, threshold) for each in decoded]
    }


def answer_images_together(
    body: dict[str, Any], detect_all: DetectAll, *, default_threshold: float, max_batch: int
) -> object:
    """Answer like `answer_images`, but run all readable images as one batch."""
    threshold = read_threshold(body, default_threshold)
    if "images" not in body:
        return detect_all([decode_image(body.get("image"))], threshold)[0]
    decoded = [_decode(*each) for each in enumerate(_read_images(body, max_batch=max_batch))]
    images = [each for each in decoded if not isinstance(each, dict)]
    found = iter(detect_all(images, threshold) if images else ())
    return {"results": [each if isinstance(each, dict) else next(found) for each in decoded]}


def _read_images(body: dict[str, Any], *, max_batch: int) -> list[object]:
    """Return the encoded images of ``images``; raise BadInput when there are none or too many."""
    images = body["images"]
    if not isinstance(images, list) or not images:
        raise BadInput("'images' is not a list of images in base64")
    if len(images) > max_batch:
        raise BadInput(f"'images' has {len(images)} entries; at most {max_batch} fit a call")
    return images


def _decode(number: int, encoded: object) -> Image | dict[str, str]:
    """Return an image of a batch, or ``{"error": sentence}`` when it cannot be read."""
    try:
        return decode_image(encoded, field=f"images[{number}]")
    except BadInput as error:
        return {"error": str(error)}
