"""Instance masks: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer
from common.images import decode_image
from common.inputs import read_threshold
from common.platform import Context, Event
from model import InstanceSegmenter

DEFAULT_THRESHOLD = 0.4


def init_context(context: Context) -> None:
    """Load the networks once a worker."""
    segmenter = InstanceSegmenter.load()
    context.user_data.segmenter = segmenter
    context.logger.info(f"NanoDet and MobileSAM run on {segmenter.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer a mask for each thing found on ``image``."""
    segmenter: InstanceSegmenter = context.user_data.segmenter

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return segmenter.items(decode_image(body.get("image")), threshold)

    return answer(context, event, run)
