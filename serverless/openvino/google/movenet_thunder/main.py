"""Pose estimation: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer
from common.images import decode_image
from common.inputs import read_threshold
from common.platform import Context, Event
from model import PoseEstimator

DEFAULT_THRESHOLD = 0.5


def init_context(context: Context) -> None:
    """Load the networks once a worker."""
    estimator = PoseEstimator.load()
    context.user_data.estimator = estimator
    context.logger.info(f"MoveNet Thunder runs on {estimator.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer a skeleton for each person on ``image``."""
    estimator: PoseEstimator = context.user_data.estimator

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return estimator.items(decode_image(body.get("image")), threshold)

    return answer(context, event, run)
