"""Tracker states in the client's hands: opaque, signed, bound to function, user and task.

A state is the function's own JSON value. The client gets it as compact JSON with a time stamp and
a signature (``django.core.signing.TimestampSigner``) and hands it back with the next step, so that
nothing has to be kept on the server. A function may trust what it gets: only what it made itself,
for this very user and task, verifies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.conf import settings
from cvat_lambda.errors import InvalidTrackerState

# Larger than any tracker's state seen (20 kB for a siamese template, some MB for a whole
# transformer's), small enough to be sent with every step.
MAX_STATE_BYTES = 32 * 1024 * 1024


class StateSigner:
    """Seals and opens the states of one function's tracks on one task for one user."""

    def __init__(self, *, function_id: str, user_id: int, task_id: int) -> None:
        # A function id holds no colon, so no two owners share a salt.
        self._signer = TimestampSigner(salt=f"cvat-tracker-state:{function_id}:{user_id}:{task_id}")

    def seal(self, state: Any, *, item: int | None = None) -> str | None:
        """A function's state as the client keeps it; None stays None.

        Raise AnswerError, about the object ``item``, if it cannot travel: too large, not finite.
        """
        if state is None:
            return None
        try:
            text = json.dumps(state, separators=(",", ":"), allow_nan=False)
        except RecursionError as exc:
            raise AnswerError("the state is nested too deeply", item=item, field="states") from exc
        except ValueError as exc:  # 1e999 is JSON, and infinity once it is parsed
            raise AnswerError(
                "the state holds a number that is not finite", item=item, field="states"
            ) from exc
        if len(text) > MAX_STATE_BYTES:
            raise AnswerError(
                f"the state of {len(text)} bytes is more than the {MAX_STATE_BYTES} that a client"
                " can send back",
                item=item,
                field="states",
            )
        return self._signer.sign(text)

    def open(self, sealed: str | None) -> Any:
        """The function's state out of what the client sent. Raise InvalidTrackerState."""
        if sealed is None:
            return None
        if len(sealed) > 2 * MAX_STATE_BYTES:
            raise InvalidTrackerState("The tracker state is too large. Start the track again.")
        try:
            text = self._signer.unsign(sealed, max_age=settings.TRACKER_STATE_MAX_AGE_S)
        except SignatureExpired as exc:
            hours = settings.TRACKER_STATE_MAX_AGE_S / 3600
            raise InvalidTrackerState(
                f"The tracker state is older than {hours:g} hours. Start the track again."
            ) from exc
        except BadSignature as exc:
            raise InvalidTrackerState from exc
        return json.loads(text)

    def open_all(self, sealed: Iterable[str | None]) -> list[Any]:
        """`open` for each."""
        return [self.open(state) for state in sealed]
