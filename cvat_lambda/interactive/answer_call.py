"""Answer a person's call with the handler for the function's kind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cvat_lambda.engine.port import Access, Engine
from cvat_lambda.errors import LambdaError
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.invoke import interactive_time_limit_s
from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.detector import detect
from cvat_lambda.interactive.interactor import interact
from cvat_lambda.interactive.params import CallParams
from cvat_lambda.interactive.reid import reidentify
from cvat_lambda.interactive.scope import CallScope
from cvat_lambda.interactive.track_stream import track_frames
from cvat_lambda.interactive.tracker import track
from cvat_lambda.observability.context import current_request_id
from cvat_lambda.signals import function_called

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

HANDLERS: Final[Mapping[Kind, Callable[[Call], Any]]] = {
    Kind.DETECTOR: detect,
    Kind.INTERACTOR: interact,
    Kind.TRACKER: track,
    Kind.REID: reidentify,
}


def answer_call(
    engine: Engine,
    access: Access,
    spec: FunctionSpec,
    params: CallParams,
    *,
    http_request: HttpRequest | None = None,
) -> Any:
    """Return the API's JSON answer of a call, if the user may see its task or job.

    Raise LambdaError. The signal ``function_called`` is sent in any case.
    """
    call = _call(engine, access, spec, params)
    with _reported(call, http_request):
        return HANDLERS[spec.kind](call)


def stream_call(
    engine: Engine,
    access: Access,
    spec: FunctionSpec,
    params: CallParams,
    *,
    http_request: HttpRequest | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield an answer for each frame of a tracker's call, as `track_frames` does."""
    call = _call(engine, access, spec, params)
    with _reported(call, http_request):
        yield from track_frames(call)


def _call(engine: Engine, access: Access, spec: FunctionSpec, params: CallParams) -> Call:
    return Call(
        access=access,
        spec=spec,
        scope=CallScope.resolve(engine, access, params),
        params=params,
        request_id=current_request_id() or uuid.uuid4().hex,
        ends_at=time.monotonic() + interactive_time_limit_s(spec),
    )


@contextmanager
def _reported(call: Call, http_request: HttpRequest | None) -> Iterator[None]:
    """Send the signal ``function_called`` at the end of the block."""
    begun_at = time.perf_counter()
    error: LambdaError | None = None
    try:
        yield
    except LambdaError as exc:
        error = exc
        raise
    except Exception:
        error = LambdaError("an unexpected error")  # otherwise receivers would count a success
        raise
    finally:
        get_caches().call_counts.add(call.spec.id)
        function_called.send_robust(
            sender=answer_call,
            function_id=call.spec.id,
            kind=call.spec.kind.value,
            task_id=call.scope.task_id,
            job_id=call.scope.job_id,
            project_id=call.scope.facts.project_id,
            duration_s=time.perf_counter() - begun_at,
            error=error,
            http_request=http_request,
        )
