"""Segment Anything: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from model import Interactor

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the network once for this worker."""
    interactor = Interactor.load()
    context.user_data.interactor = interactor
    context.logger.info(f"Segment Anything runs on {interactor.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the embedding and the mask of what was clicked or boxed."""
    interactor: Interactor = context.user_data.interactor
    return answer(context, event, interactor.interact)
