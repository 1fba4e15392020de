"""Create and delete native functions."""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.agents import wakeups
from cvat_lambda.agents.description import Description
from cvat_lambda.agents.models import NativeFunction, native_id
from cvat_lambda.agents.presence import workers_for
from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionNotFound, StateConflict
from cvat_lambda.functions.metadata import parse_function, revision_of
from cvat_lambda.functions.models import MISSING, NATIVE, Function


def create(
    description: Description, *, owner_id: int, organization_id: int | None
) -> NativeFunction:
    """Store a native function. It is ``missing`` until the first agent asks for work.

    Raise InvalidRequest, FunctionSpecInvalid; StateConflict if its id belongs to a function of
    the platform.
    """
    spec = description.spec()
    never_heard = timezone.now() - timedelta(seconds=settings.AGENT_MISSING_AFTER_S)
    try:
        with transaction.atomic():
            native: NativeFunction = NativeFunction.objects.create(spec=spec)
            function_id = native_id(native.pk)
            metadata = description.metadata(function_id, workers=workers_for(0))
            parsed = parse_function(metadata)
            native.function = Function.objects.create(
                id=function_id,
                platform=NATIVE,
                kind=parsed.kind.value,
                name=parsed.name,
                version=parsed.version,
                revision=revision_of(metadata),
                state=MISSING,
                message="no agent has run yet",
                metadata=metadata,
                owner_id=owner_id,
                organization_id=organization_id,
                private=description.private,
                seen_at=never_heard,
            )
            native.save(update_fields=["function"])
    except IntegrityError as exc:
        raise StateConflict("the id of the new function is taken: try again") from exc
    _note("saved", function_id)
    return native


def delete(native: NativeFunction) -> None:
    """Delete a native function, its queue and its agents. Callers who wait get an error."""
    pk = native.pk
    deleted, _ = Function.objects.filter(native=pk).delete()
    if not deleted:
        raise FunctionNotFound(f"native function #{pk} was not found")
    wakeups.publish_deleted(pk)
    _note("removed", native_id(pk))


def _note(action: str, function_id: str) -> None:
    signals.action_taken.send_robust(
        sender=NativeFunction,
        action=action,
        object_kind="native_function",
        object_id=function_id,
        details={},
    )
