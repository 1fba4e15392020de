"""Re-identification: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer
from common.errors import BadInput
from common.images import decode_image
from common.inputs import read_boxes, read_number
from common.platform import Context, Event
from model import Matcher

DEFAULT_THRESHOLD = 0.3
DEFAULT_MAX_DISTANCE = 50.0


def init_context(context: Context) -> None:
    """Load the network once a worker."""
    matcher = Matcher.load()
    context.user_data.matcher = matcher
    context.logger.info(f"MobileNetV2 runs on {matcher.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer, for each of ``boxes0``, which of ``boxes1`` is the same thing, or -1."""
    matcher: Matcher = context.user_data.matcher

    def run(body: dict[str, Any]) -> object:
        threshold = read_number(body, "threshold", DEFAULT_THRESHOLD)
        max_distance = read_number(body, "max_distance", DEFAULT_MAX_DISTANCE)
        if not 0 <= threshold <= 1 or max_distance < 0:
            raise BadInput("'threshold' must lie in [0, 1] and 'max_distance' be at least 0")
        return matcher.match(
            decode_image(body.get("image0"), field="image0"),
            read_boxes(body, "boxes0"),
            decode_image(body.get("image1"), field="image1"),
            read_boxes(body, "boxes1"),
            threshold=threshold,
            max_distance=max_distance,
        )

    return answer(context, event, run)
