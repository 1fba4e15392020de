"""Attributed face detection: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from common.images import decode_image
from common.inputs import read_threshold
from model import DEFAULT_THRESHOLD, FaceReader

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the networks once for this worker."""
    reader = FaceReader()
    context.user_data.reader = reader
    context.logger.info(f"Face detection, age, gender and emotion run on {reader.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the faces of ``image``."""

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return context.user_data.reader.detect(decode_image(body.get("image")), threshold)

    return answer(context, event, run)
