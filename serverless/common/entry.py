"""The entry points that Nuclio calls. Every function's ``main.py`` imports both from here.

What differs between functions is their ``model.py``: its ``load()`` returns a `Model`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from common.answers import answer

if TYPE_CHECKING:
    from common.platform import Context, Event


class Model(Protocol):
    """A loaded model. It keeps nothing between calls."""

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""

    def answer(self, body: dict[str, Any]) -> object:
        """Return the answer to a call's body; raise BadInput where the caller is wrong."""


def init_context(context: Context) -> None:
    """Load the model. Nuclio calls this once in each worker process."""
    # Imported late: each function folder has its own module of this name.
    model: Model = importlib.import_module("model").load()
    context.user_data.model = model
    context.logger.info(f"The model runs on {model.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer one call. Nuclio calls this for each event."""
    return answer(context, event, context.user_data.model.answer)
