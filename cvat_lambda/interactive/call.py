"""A call, in the form that the handlers of all kinds of functions take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.engine.port import Access, Frame
from cvat_lambda.errors import FunctionAnswerInvalid, FunctionError, FunctionTimeout
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.invoke_with_retries import InvocationResult, invoke_with_retries
from cvat_lambda.gateway.payload import Body
from cvat_lambda.interactive.frames import read_frame
from cvat_lambda.interactive.image import image_size
from cvat_lambda.interactive.params import CallParams
from cvat_lambda.interactive.scope import CallScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The function to invoke, the parameters, the scope and the caller."""

    access: Access
    spec: FunctionSpec
    scope: CallScope
    params: CallParams
    request_id: str  # names this call in the logs of app and function
    ends_at: float  # time.monotonic() at which the caller gets an error

    def frame(self, number: int) -> Frame:
        """Return a frame of the scope. Raise what `read_frame` raises."""
        return read_frame(self.scope, number)

    def sent_frame(self, number: int) -> Frame:
        """Return a frame of the scope, for agents without its image: they read it themselves.

        Raise what `read_frame` raises.
        """
        if not self.spec.is_native:
            return self.frame(number)
        width, height = self.frame_size(number)
        return Frame(number=number, data=b"", mime="", width=width, height=height)

    def frame_size(self, number: int) -> tuple[int, int]:
        """Return width and height of a frame of the scope, read only if they are not known.

        Raise what `read_frame` raises.
        """
        self.scope.frame_key(number)  # raises if the frame is not in the scope
        facts = self.scope.engine.frame_facts(self.scope.task_id, [number]).get(number)
        if facts is not None and facts.width is not None and facts.height is not None:
            return facts.width, facts.height
        return image_size(self.frame(number))

    def left_s(self) -> float:
        """Return the seconds that are left. Raise FunctionTimeout if there are none."""
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise FunctionTimeout(f"function '{self.spec.id}' did not answer in time")
        return left_s

    def invoke(self, body: Body) -> InvocationResult:
        """Invoke the function. Raise the gateway's errors, with function and frame."""
        frame = self.params.frame1 if self.params.frame is None else self.params.frame
        try:
            return invoke_with_retries(
                self.spec, body, request_id=self.request_id, deadline_s=self.left_s()
            )
        except FunctionAnswerInvalid as exc:
            raise FunctionAnswerInvalid(
                f"frame {frame}: {exc.message}",
                **{**exc.details, "function": self.spec.id, "frame": frame},
            ) from exc
        except FunctionError as exc:
            exc.details.update(function=self.spec.id, frame=frame)
            raise

    @contextmanager
    def checking(self, frame: int) -> Iterator[None]:
        """Turn AnswerError into FunctionAnswerInvalid with function, frame, item and field."""
        try:
            yield
        except AnswerError as exc:
            details: dict[str, Any] = {"function": self.spec.id, "frame": frame}
            if exc.item is not None:
                details["item"] = exc.item
            if exc.field:
                details["field"] = exc.field
            raise FunctionAnswerInvalid(
                f"function '{self.spec.id}', frame {frame}: {exc.message}", **details
            ) from exc
