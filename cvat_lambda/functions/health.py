"""What a failed or a successful call says about a function, written into its row."""

from __future__ import annotations

from cvat_lambda import signals
from cvat_lambda.errors import (
    FunctionNotFound,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.functions.models import ENDPOINT, Function
from cvat_lambda.functions.platforms import platform
from cvat_lambda.functions.refresh import mark_missing, store
from cvat_lambda.functions.spec import FunctionSpec, State


def note_failure(function_id: str, error: LambdaError) -> None:
    """Write down that a call failed because the function could not be reached.

    The platform is asked about this one function: its address and state may have changed. An
    endpoint counts as unhealthy until a call to it succeeds. Other errors change nothing.
    """
    if not isinstance(error, PlatformUnreachable | FunctionUnavailable):
        return
    row = Function.objects.filter(pk=function_id).first()
    if row is None:
        return
    if row.platform == ENDPOINT:
        _set_state(row, "unhealthy", error.message)
        return
    try:
        raw = platform().function(function_id)
    except FunctionNotFound:
        mark_missing([row])
    except LambdaError:
        pass  # the platform as a whole is away; the rows stay as they are
    else:
        store(function_id, raw)


def note_success(spec: FunctionSpec) -> None:
    """Write down that an endpoint answered again; costs nothing for a function that is ready."""
    if spec.state == "unhealthy" and spec.address.platform == "endpoint":
        row = Function.objects.filter(pk=spec.id).first()
        if row is not None:
            _set_state(row, "ready", "")


def _set_state(row: Function, state: State, message: str) -> None:
    before = row.state
    if (before, row.message) != (state, message):
        row.state, row.message = state, message
        row.save()
    if before != state:
        signals.function_state_changed.send_robust(
            sender=Function, function_id=row.pk, before=before, after=state
        )
