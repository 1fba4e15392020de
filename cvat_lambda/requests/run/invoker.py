"""Invoke the function for a unit: encode, invoke with retries, convert. Errors become results."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from dataclasses import replace

from django.db import DatabaseError, InterfaceError, connection

from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionError,
    FunctionNotFound,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.functions import registry
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.payload import Body
from cvat_lambda.gateway.retry import Retries, background_policy
from cvat_lambda.requests.run.lease import LeaseLost
from cvat_lambda.requests.run.results import FrameResult, Unit, UnitAnswer, Version, Work, failed
from cvat_lambda.requests.run.shard_context import FunctionRedeployed, ShardRun

logger = logging.getLogger(__name__)

# Errors of the whole function, if no other frame was answered either.
FUNCTION_ERRORS = (FunctionNotFound, FunctionUnavailable, PlatformUnreachable)
# Exceptions that end the whole run: it was stopped, it lost its lease, or the database is down.
RUN_ENDING = (Cancelled, LeaseLost, DatabaseError, InterfaceError)


class FunctionUnusable(Exception):
    """The function cannot be used for any frame: the request fails with this error."""

    def __init__(self, error: LambdaError) -> None:
        super().__init__(error.message)
        self.error = error


class Invoker:
    """Invokes the function for units. Several threads call `invoke` at once."""

    def __init__(self, run: ShardRun, work: Work, cancel: CancelToken) -> None:
        self._run = run
        self._work = work
        self._cancel = cancel
        self._policy = background_policy()
        self._answered_at = 0.0  # time.monotonic() of the latest answer, also of an error
        self._spec = run.spec  # as the registry has it now; its workers and address may change
        self._refreshed_at = time.monotonic()

    def attending(self) -> AbstractContextManager[None]:
        """Share the function's concurrency limit with the runs of other workers."""
        return get_gateway().limiter(self._spec).background_run()

    def in_flight(self) -> int:
        """Return the number of invokers that the function can use now.

        The number follows the registry, which is read every `FUNCTIONS_REFRESH_S` s (0: never).
        """
        every_s = settings.FUNCTIONS_REFRESH_S
        if every_s > 0 and time.monotonic() - self._refreshed_at >= every_s:
            self._refreshed_at = time.monotonic()
            self._refresh()
        if self._work.sequential:
            return 1
        return max(1, min(get_gateway().limiter(self._spec).ceiling, len(self._run.frames)))

    def _refresh(self) -> None:
        try:
            self._spec = registry.get(self._spec.id)
            self._run.check_version(self._version())
        except FunctionRedeployed as exc:
            raise FunctionUnusable(exc) from exc
        except DatabaseError:
            connection.close()  # the next refresh reads it
        except LambdaError as exc:
            # Removed, or its metadata is invalid: the invocations show whether it still answers.
            logger.info("Function %r as the registry has it: %s", self._spec.id, exc.message)

    def invoke(self, unit: Unit) -> list[FrameResult]:
        """Return the results of a unit's frames. Raise FunctionUnusable, Cancelled."""
        version = self._version()
        return [
            result if result.version is not None else replace(result, version=version)
            for result in self._invoke(unit)
        ]

    def _version(self, revision: str = "") -> Version:
        """Return the version of an answer; without a ``revision`` the registry's."""
        return Version(self._spec.version, revision or self._spec.revision)

    def _invoke(self, unit: Unit) -> list[FrameResult]:
        started = time.monotonic()
        retries = self._policy.start()
        try:
            return self._work.run(unit, lambda body: self._ask(body, retries))
        except FUNCTION_ERRORS as exc:
            if self._is_unusable(exc, retries):
                raise FunctionUnusable(exc) from exc
            error: LambdaError = exc
        except LambdaError as exc:
            error = exc
        except (*RUN_ENDING, FunctionUnusable):
            raise
        except Exception as exc:
            error = self._defect(unit, exc)
        parts = self._work.parts(unit)
        if len(parts) > 1:
            return [result for part in parts for result in self._invoke(part)]
        took_s = time.monotonic() - started
        attempts = int(error.details.get("attempts", 1))
        return [
            failed(number, error, attempts=attempts, duration_s=took_s) for number in unit.numbers
        ]

    def _is_unusable(self, error: LambdaError, retries: Retries) -> bool:
        """Return whether no unit got an answer since this one found the function unavailable."""
        return (
            error.permanent
            or retries.unavailable_since is None
            or self._answered_at < retries.unavailable_since
        )

    def _ask(self, body: Body, retries: Retries) -> UnitAnswer:
        """Invoke the run's function. Raise LambdaError, FunctionUnusable, Cancelled."""
        started = time.monotonic()
        try:
            called = invoke_with_retries(
                self._spec,
                body,
                request_id=self._run.request.id,
                retries=retries,
                interactive=False,
                cancel=self._cancel,
            )
        except FunctionError:
            self._answered_at = time.monotonic()
            raise
        self._answered_at = time.monotonic()
        # The function may have been deployed again since the registry was read; its answer says so.
        version = self._version(called.revision)
        try:
            self._run.check_version(version)
        except FunctionRedeployed as exc:
            raise FunctionUnusable(exc) from exc
        return UnitAnswer(
            answer=called.answer,
            attempts=called.attempts,
            duration_s=self._answered_at - started,
            version=version,
        )

    def _defect(self, unit: Unit, exc: Exception) -> LambdaError:
        """Log an unexpected exception; return it as the error of its frame. The run continues."""
        number = unit.numbers[0]
        logger.error("Frame %d of task %d", number, self._run.task.id, exc_info=exc)
        return LambdaError(
            f"an internal error on frame {number} ({type(exc).__name__}); "
            "the server's log has the details"
        )
