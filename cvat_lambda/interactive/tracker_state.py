"""Tracker states that clients keep: opaque, signed, valid for one function, user and task.

A state is the function's own JSON value. The client gets it as compact JSON with the revision of
the function, the last known shape of the object, a time stamp and a signature
(``django.core.signing.TimestampSigner``), and sends it back with the next step, so that the server
keeps nothing. A function may trust the states that it gets: only states that it made itself, for
this user and task, pass the check.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.conf import settings
from cvat_lambda.errors import InvalidTrackerState

# Larger than the known states (20 kB for a siamese template, some MB for a transformer), and small
# enough to be sent with every step.
MAX_STATE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenShape:
    """The last known shape of an object."""

    frame: int  # relative to the task
    type: str
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerState:
    """A function's state, and the revision of the function that made it ("": not known)."""

    value: Any
    revision: str
    seen: SeenShape | None = None


class StateSigner:
    """Signs and verifies the states of one function's tracks on one task for one user."""

    def __init__(self, *, function_id: str, user_id: int, task_id: int) -> None:
        # A function id holds no colon, so each combination has its own salt.
        # 3: the version of the signed text, which contains the revision and the last known shape.
        salt = f"cvat-tracker-state:3:{function_id}:{user_id}:{task_id}"
        self._signer = TimestampSigner(salt=salt)

    def sign(
        self,
        state: Any,
        *,
        revision: str,
        seen: SeenShape | None = None,
        item: int | None = None,
    ) -> str | None:
        """Return a function's state as the client keeps it; None stays None.

        Raise AnswerError, about the object ``item``, if the state is too large or no JSON.
        """
        if state is None:
            return None
        try:
            shape = None if seen is None else [seen.frame, seen.type, seen.points]
            text = json.dumps([revision, shape, state], separators=(",", ":"), allow_nan=False)
        except RecursionError as exc:
            raise AnswerError("the state is nested too deeply", item=item, field="states") from exc
        except ValueError as exc:  # 1e999 is valid JSON and becomes infinity when parsed
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

    def open(self, signed: str | None) -> TrackerState | None:
        """Return the function's state from the client's text. Raise InvalidTrackerState."""
        if signed is None:
            return None
        if len(signed) > 2 * MAX_STATE_BYTES:
            raise InvalidTrackerState("The tracker state is too large. Start the track again.")
        try:
            text = self._signer.unsign(signed, max_age=settings.TRACKER_STATE_MAX_AGE_S)
        except SignatureExpired as exc:
            hours = settings.TRACKER_STATE_MAX_AGE_S / 3600
            raise InvalidTrackerState(
                f"The tracker state is older than {hours:g} hours. Start the track again."
            ) from exc
        except BadSignature as exc:
            raise InvalidTrackerState from exc
        revision, shape, value = json.loads(text)
        seen = None
        if shape is not None:
            frame, shape_type, points = shape
            seen = SeenShape(frame=frame, type=shape_type, points=tuple(points))
        return TrackerState(value=value, revision=revision, seen=seen)

    def open_all(self, signed: Iterable[str | None]) -> list[TrackerState | None]:
        """Return the result of `open` for each."""
        return [self.open(state) for state in signed]
