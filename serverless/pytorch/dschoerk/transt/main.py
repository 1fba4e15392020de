"""TransT: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from common.weights import weights_file
from model import Tracker, load_network
from protocol import track

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the network once for this worker."""
    network = load_network(weights_file("transt.pth", env="MODEL_PATH"))
    tracker = Tracker(network)
    context.user_data.tracker = tracker
    context.logger.info(f"TransT runs on {tracker.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer where each object of ``shapes`` and ``states`` is on ``image``."""
    tracker: Tracker = context.user_data.tracker
    return answer(context, event, lambda body: track(tracker, body))
