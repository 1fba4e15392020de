"""Siamese tracker: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer
from common.platform import Context, Event
from model import SiameseTracker
from protocol import track


def init_context(context: Context) -> None:
    """Load the network once a worker."""
    tracker = SiameseTracker.load()
    context.user_data.tracker = tracker
    context.logger.info(f"MobileNetV2 runs on {tracker.device}")


def handler(context: Context, event: Event) -> Any:
    """Start to track ``shapes``, or follow ``states``, on ``image``."""
    tracker: SiameseTracker = context.user_data.tracker
    return answer(context, event, lambda body: track(tracker, body))
