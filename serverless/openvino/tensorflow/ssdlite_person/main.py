"""Person detector: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer, each_image
from common.inputs import read_threshold
from common.platform import Context, Event
from model import MAX_BATCH, PersonDetector

DEFAULT_THRESHOLD = 0.5


def init_context(context: Context) -> None:
    """Load the network once a worker."""
    detector = PersonDetector.load()
    context.user_data.detector = detector
    context.logger.info(f"SSDLite runs on {detector.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the rectangles of persons on ``image``, or on each of ``images``."""
    detector: PersonDetector = context.user_data.detector

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return each_image(body, lambda image: detector.items(image, threshold), max_batch=MAX_BATCH)

    return answer(context, event, run)
