"""``/api/functions``: native functions, and the queue from which their agents get work."""

from __future__ import annotations

from typing import Any, Final

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from cvat_lambda.agents import access as agent_access
from cvat_lambda.agents import presence, queue, store
from cvat_lambda.agents.models import NativeFunction
from cvat_lambda.api import schema
from cvat_lambda.api.base import LambdaViewSet
from cvat_lambda.api.event_streams import stream_events
from cvat_lambda.api.serializers.native import (
    MAX_SENTENCE,
    PROVIDER,
    AcquiredSerializer,
    AcquireSerializer,
    AgentSerializer,
    FailureSerializer,
    NativeFunctionRequestSerializer,
    NativeFunctionSerializer,
    ProgressSerializer,
)
from cvat_lambda.conf import settings
from cvat_lambda.functions.models import Function

CREATE_BODY: Final = NativeFunctionRequestSerializer()
ACQUIRE_BODY: Final = AcquireSerializer()
PROGRESS_BODY: Final = ProgressSerializer()
FAILURE_BODY: Final = FailureSerializer()
AGENT_BODY: Final = AgentSerializer()
_ID: Final = OpenApiParameter("id", int, OpenApiParameter.PATH, description="Native function")
_ENTRY: Final = OpenApiParameter(
    "ar_id", int, OpenApiParameter.PATH, description="Annotation request"
)
_EMPTY: Final = OpenApiResponse(description="Stored")


class NativeFunctionViewSet(LambdaViewSet):
    """Native functions, which run in processes of their owner."""

    @extend_schema(
        operation_id="functions_create",
        summary="Create a native function",
        request=NativeFunctionRequestSerializer,
        responses={201: NativeFunctionSerializer, **schema.errors(400, 403)},
        tags=["functions"],
    )
    def create(self, request: HttpRequest) -> Response:
        description = CREATE_BODY.describe(request.data)
        access = self.access()
        native = store.create(
            description, owner_id=access.user_id, organization_id=access.organization_id
        )
        return Response(_to_json(native), status=201)

    @extend_schema(
        operation_id="functions_retrieve",
        summary="Get a native function",
        parameters=[_ID],
        responses={200: NativeFunctionSerializer, **schema.errors(403, 404)},
        tags=["functions"],
    )
    def retrieve(self, request: HttpRequest, pk: int) -> Response:
        return Response(_to_json(self._find(pk, edit=False)))

    @extend_schema(
        operation_id="functions_destroy",
        summary="Delete a native function",
        parameters=[_ID],
        responses={204: OpenApiResponse(description="Deleted"), **schema.errors(403, 404)},
        tags=["functions"],
    )
    def destroy(self, request: HttpRequest, pk: int) -> Response:
        store.delete(self._find(pk))
        return Response(status=204)

    @extend_schema(
        operation_id="functions_watch_queue",
        summary="Watch the queue of a native function",
        description="An event stream: `newrequest` with the category of a new entry.",
        parameters=[_ID],
        responses={(200, "text/event-stream"): str, **schema.errors(403, 404)},
        tags=["functions"],
    )
    def watch(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        native = self._find(pk)
        return stream_events(request, native.pk)

    @extend_schema(
        operation_id="functions_acquire_request",
        summary="Get the next annotation request for an agent",
        parameters=[_ID],
        request=AcquireSerializer,
        responses={200: AcquiredSerializer, **schema.errors(400, 403, 404)},
        tags=["functions"],
    )
    def acquire(self, request: HttpRequest, pk: int) -> Response:
        body = ACQUIRE_BODY.parse(request.data)
        native = self._find(pk)
        agent_id = body["agent_id"]
        presence.note_heard(native, agent_id, self.access().user_id)
        found = queue.acquire(
            native.pk, agent_id, body["request_category"], lease_s=_lease_s(native)
        )
        if found is None:
            return Response({"ar_assignment": None})
        assignment = {"ar_id": str(found.entry_id), "ar_params": found.params}
        return Response({"ar_assignment": assignment})

    @extend_schema(
        operation_id="functions_update_request",
        summary="Store the progress of an annotation request",
        parameters=[_ID, _ENTRY],
        request=ProgressSerializer,
        responses={200: _EMPTY, **schema.errors(400, 403, 404, 409)},
        tags=["functions"],
    )
    def update_entry(self, request: HttpRequest, pk: int, ar_id: int) -> Response:
        body = PROGRESS_BODY.parse(request.data)
        native = self._find(pk)
        lease_s = _lease_s(native)
        queue.renew(
            native.pk,
            ar_id,
            body["agent_id"],
            progress=body["progress"],
            lease_s=lease_s,
            max_work_s=max(lease_s, settings.AGENT_MAX_WORK_S),
        )
        presence.note_heard(native, body["agent_id"], self.access().user_id)
        return Response({})

    @extend_schema(
        operation_id="functions_complete_request",
        summary="Send the result of an annotation request",
        parameters=[_ID, _ENTRY],
        request={"application/json": {"type": "object", "additionalProperties": True}},
        responses={200: _EMPTY, **schema.errors(400, 403, 404, 409, 413)},
        tags=["functions"],
    )
    def complete(self, request: HttpRequest, pk: int, ar_id: int) -> Response:
        native = self._find(pk)
        try:
            body = AGENT_BODY.parse(request.data)
            result = {
                name: value for name, value in dict(request.data).items() if name != "agent_id"
            }
            queue.complete(native.pk, ar_id, body["agent_id"], result)
        except (exceptions.ParseError, exceptions.ValidationError, ValueError) as exc:
            # The frame fails at once. Its agent gets the same sentence.
            message = f"the answer is not valid JSON: {_sentence(exc)}"
            queue.refuse_result(native.pk, ar_id, message)
            raise exceptions.ParseError(message) from exc
        return Response({})

    @extend_schema(
        operation_id="functions_fail_request",
        summary="Say that an annotation request failed",
        parameters=[_ID, _ENTRY],
        request=FailureSerializer,
        responses={200: _EMPTY, **schema.errors(400, 403, 404, 409)},
        tags=["functions"],
    )
    def fail(self, request: HttpRequest, pk: int, ar_id: int) -> Response:
        body = FAILURE_BODY.parse(request.data)
        native = self._find(pk)
        queue.fail(native.pk, ar_id, body["agent_id"], message=body["exc_info"][:MAX_SENTENCE])
        return Response({})

    def _find(self, pk: int, *, edit: bool = True) -> NativeFunction:
        """Return a function that the user may see, or with ``edit`` run and delete."""
        self.check_detail(pk)
        return agent_access.find_native(self.access(), pk, edit=edit)


def _to_json(native: NativeFunction) -> dict[str, Any]:
    function = _function(native)
    return {
        "id": native.pk,
        "provider": PROVIDER,
        "name": function.name,
        "visibility": "private" if function.private else "public",
        "owner": function.owner_id,
        "organization": function.organization_id,
        "function_id": function.pk,
        "created_date": native.created_at,
        "kind": function.kind,
        **native.spec,
    }


def _lease_s(native: NativeFunction) -> float:
    """Return how long an agent may work on an entry of a function without a sign of life."""
    limit_s = _function(native).timeout_s
    return settings.AGENT_LEASE_S if limit_s is None else limit_s


def _function(native: NativeFunction) -> Function:
    assert native.function is not None  # only while it is created
    return native.function


def _sentence(exc: Exception) -> str:
    text = str(exc.detail if isinstance(exc, exceptions.APIException) else exc)
    return text.replace("\0", "")[:300]
