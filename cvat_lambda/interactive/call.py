"""One call, as the handlers of all kinds get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.engine.port import Access, Frame
from cvat_lambda.errors import FunctionAnswerInvalid, FunctionError
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.interactive.frames import read_frame
from cvat_lambda.interactive.params import CallParams, CallScope


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function, what it is asked, where, and by whom."""

    access: Access
    spec: FunctionSpec
    scope: CallScope
    params: CallParams
    request_id: str  # names this call in the logs of app and function

    def frame(self, number: int) -> Frame:
        """A frame of the scope. Raise FrameOutOfScope, FrameUnreadable or EngineUnavailable."""
        return read_frame(self.scope, number)

    def invoke(self, body: bytes) -> Any:
        """The function's answer, parsed. Raise the gateway's errors, about function and frame."""
        frame = self.params.frame1 if self.params.frame is None else self.params.frame
        try:
            return invoke_with_retries(self.spec, body, request_id=self.request_id).answer
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
        """Turn a breach of the contract into FunctionAnswerInvalid that names all it can."""
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
