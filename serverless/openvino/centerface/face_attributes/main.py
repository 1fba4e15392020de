"""Faces with attributes: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer
from common.images import decode_image
from common.inputs import read_threshold
from common.platform import Context, Event
from model import FaceDescriber

DEFAULT_THRESHOLD = 0.5


def init_context(context: Context) -> None:
    """Load the networks once a worker."""
    describer = FaceDescriber.load()
    context.user_data.describer = describer
    context.logger.info(f"CenterFace with age, gender and emotion runs on {describer.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer a rectangle with attributes for each face on ``image``."""
    describer: FaceDescriber = context.user_data.describer

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return describer.items(decode_image(body.get("image")), threshold)

    return answer(context, event, run)
