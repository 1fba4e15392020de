"""IOG: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from common.weights import weights_file
from model import Interactor, load_network

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the network once for this worker."""
    network = load_network(weights_file("IOG_PASCAL_SBD.pth", env="MODEL_PATH"))
    interactor = Interactor(network)
    context.user_data.interactor = interactor
    context.logger.info(f"IOG runs on {interactor.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the mask of what was boxed and clicked."""
    interactor: Interactor = context.user_data.interactor
    return answer(context, event, interactor.interact)
