"""MobileSAM interactor: entry points of the function."""

from __future__ import annotations

from typing import Any

from common.answers import answer
from common.platform import Context, Event
from model import Interactor


def init_context(context: Context) -> None:
    """Load the networks once a worker."""
    interactor = Interactor.load()
    context.user_data.interactor = interactor
    context.logger.info(f"MobileSAM runs on {interactor.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the mask of what was clicked or boxed, and the picture's embedding when asked."""
    interactor: Interactor = context.user_data.interactor
    return answer(context, event, interactor.interact)
