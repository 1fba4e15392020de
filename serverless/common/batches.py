"""Several frames in one call: decoded one by one, run together, answered in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.answers import batch
from common.errors import BadInput
from common.images import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]


def run_frames(
    body: dict[str, Any], run: Callable[[Sequence[Image]], Sequence[object]], *, max_batch: int
) -> object:
    """Answer for ``image``, or for all of ``images`` together as ``{"results": [...]}``, in order.

    ``run`` gets the readable images and returns one answer for each. A frame that cannot be read
    becomes ``{"error": sentence}`` at its place and leaves the others alone.
    """
    if "images" not in body:
        return run([decode_image(body.get("image"))])[0]
    results: list[object] = []
    images: list[Image] = []
    places: list[int] = []
    for number, frame in enumerate(batch(body, max_batch=max_batch)):
        try:
            images.append(decode_image(frame, field=f"images[{number}]"))
        except BadInput as error:
            results.append({"error": str(error)})
        else:
            results.append(None)
            places.append(number)
    for place, answer in zip(places, run(images) if images else (), strict=True):
        results[place] = answer
    return {"results": results}
