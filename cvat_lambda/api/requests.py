"""``/api/lambda/requests``: background runs of functions over many frames."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from typing import Any, Final

from drf_spectacular.utils import (
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from cvat_lambda.api import schema
from cvat_lambda.api.base import LambdaViewSet, unknown_targets_answer_400
from cvat_lambda.api.browser_compat import is_browser, request_for_browser
from cvat_lambda.api.render import outcome_to_json, request_to_json, requests_to_json
from cvat_lambda.api.serializers.requests import (
    FunctionCallRequestSerializer,
    OutcomesQuerySerializer,
    RequestsQuerySerializer,
    UndoQuerySerializer,
)
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Action
from cvat_lambda.errors import InvalidRequest, RequestNotFound
from cvat_lambda.requests.control.access import find_request, require_functions, visible_requests
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.control.preview import preview_request
from cvat_lambda.requests.control.retry import resume_request, retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Request
from cvat_lambda.requests.store.outcome_rows import OutcomeRows
from cvat_lambda.requests.store.queries import most_relevant, on_task
from cvat_lambda.requests.store.tracking import Tracking
from cvat_lambda.rest.pagination import LongPages

LISTED = 200  # requests in a list, which has no pages
REQUEST_BODY: Final = FunctionCallRequestSerializer()

_TRACKING: Final = tuple(field.name for field in dataclass_fields(Tracking))
_OF_REQUEST = [schema.REQUEST_ID]
_UNDO = OpenApiParameter("undo", bool, description="Also remove what the request has added")


@extend_schema(tags=["lambda"])
@extend_schema_view(
    list=extend_schema(
        operation_id="lambda_list_requests",
        summary="List requests, newest first",
        description=f"Where there are more than {LISTED}: those that are queued or run before those"
        " that have ended, the user's own before others', newer before older.",
        parameters=[RequestsQuerySerializer],
        responses={200: schema.FunctionCallSerializer(many=True), **schema.errors(400, 403)},
    ),
    create=extend_schema(
        operation_id="lambda_create_requests",
        summary="Run a function over a task, jobs, tasks or a project",
        request=FunctionCallRequestSerializer,
        responses={
            200: PolymorphicProxySerializer(
                component_name="FunctionCallOrPreview",
                serializers=[schema.FunctionCallSerializer, schema.PreviewSerializer],
                resource_type_field_name=None,
            ),
            **schema.errors(400, 403, 404, 409, 415, 502, 503),
        },
    ),
    retrieve=extend_schema(
        operation_id="lambda_retrieve_requests",
        summary="Get a request",
        parameters=_OF_REQUEST,
        responses={200: schema.FunctionCallSerializer, **schema.errors(403, 404)},
    ),
    destroy=extend_schema(
        operation_id="lambda_delete_requests",
        summary="Cancel a request",
        parameters=[*_OF_REQUEST, _UNDO],
        responses={204: None, **schema.errors(400, 403, 404, 409)},
    ),
    retry=extend_schema(
        operation_id="lambda_retry_requests",
        summary="Run the failed frames of a request again, and those that it did not reach",
        parameters=_OF_REQUEST,
        request=None,
        responses={200: schema.FunctionCallSerializer, **schema.errors(403, 404, 409)},
    ),
    resume=extend_schema(
        operation_id="lambda_resume_requests",
        summary="Run the frames of an ended request that have no outcome",
        description="Frames that failed stay failed: `retry` runs them as well.",
        parameters=_OF_REQUEST,
        request=None,
        responses={200: schema.FunctionCallSerializer, **schema.errors(403, 404, 409)},
    ),
    undo=extend_schema(
        operation_id="lambda_undo_requests",
        summary="Remove what a request added, except what people edited",
        parameters=_OF_REQUEST,
        request=None,
        responses={200: schema.FunctionCallSerializer, **schema.errors(403, 404, 409)},
    ),
    outcomes=extend_schema(
        operation_id="lambda_list_request_outcomes",
        summary="List the outcomes of the frames of a request",
        parameters=[*_OF_REQUEST, OutcomesQuerySerializer],
        responses={200: schema.FrameOutcomePageSerializer, **schema.errors(400, 403, 404)},
    ),
)
class RequestViewSet(LambdaViewSet):
    """The requests that the user may view. All others are answered with 404."""

    lookup_field = "id"
    lookup_value_regex = "[^/]+"  # CVAT's own ids hold "=" and "&"

    def list(self, request: HttpRequest) -> Response:
        """List requests as an array without pages."""
        wanted = _query(RequestsQuerySerializer, request)
        found = visible_requests(self.access())
        if "task" in wanted:
            found = on_task(found, wanted["task"])
        if "function" in wanted:
            found = found.filter(function_id=wanted["function"])
        shown = most_relevant(found, self.access().user_id, LISTED, status=wanted.get("status"))
        return Response(requests_to_json(shown))

    @unknown_targets_answer_400()
    def create(self, request: HttpRequest) -> Response:
        body = REQUEST_BODY.parse(request.data)
        access = self.access()
        _require_jobs_of_task(access, body)
        if body.pop("dry_run", False):
            return Response(preview_request(access, **_arguments(body)).to_json())
        return Response(request_to_json(create_request(access, **_arguments(body))))

    def retrieve(self, request: HttpRequest, id: str) -> Response:
        found = self._find(id)
        if is_browser(request):
            return Response(request_for_browser(found))
        return Response(request_to_json(found))

    def destroy(self, request: HttpRequest, id: str) -> Response:
        undo = _query(UndoQuerySerializer, request).get("undo", False)
        cancel_request(self._find(id, "edit"), undo=undo, user_id=self.access().user_id)
        return Response(status=204)

    @action(detail=True, methods=["POST"])
    def retry(self, request: HttpRequest, id: str) -> Response:
        return Response(request_to_json(retry_request(self._find_to_run(id))))

    @action(detail=True, methods=["POST"])
    def resume(self, request: HttpRequest, id: str) -> Response:
        return Response(request_to_json(resume_request(self._find_to_run(id))))

    @action(detail=True, methods=["POST"])
    def undo(self, request: HttpRequest, id: str) -> Response:
        found = self._find(id, "edit")
        undo_request(found, user_id=self.access().user_id)
        return Response(request_to_json(found))

    @action(detail=True, methods=["GET"])
    def outcomes(self, request: HttpRequest, id: str) -> Response:
        wanted = _query(OutcomesQuerySerializer, request)
        found: Any = OutcomeRows(self._find(id), wanted.get("status"))
        pages = LongPages()
        page: Any = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([outcome_to_json(outcome) for outcome in page])

    def _find(self, request_id: str, wanted: Action = "view") -> Request:
        self.check_detail(request_id)
        if "\x00" in request_id:  # PostgreSQL cannot look for it
            raise RequestNotFound
        return find_request(self.access(), request_id, wanted)

    def _find_to_run(self, request_id: str) -> Request:
        found = self._find(request_id, "edit")
        require_functions(self.access(), found)
        return found


def _query(serializer: type[serializers.Serializer[Any]], request: HttpRequest) -> dict[str, Any]:
    parsed = serializer(data=request.query_params.dict())
    parsed.is_valid(raise_exception=True)
    return dict(parsed.validated_data)


def _require_jobs_of_task(access: Access, data: dict[str, Any]) -> None:
    """Check that the named jobs belong to the named task.

    Raise InvalidRequest, JobNotFound, PermissionDenied.
    """
    task_id = data.get("task")
    if task_id is None:
        return
    job_ids = data.get("jobs", []) + ([data["job"]] if "job" in data else [])
    editable = access.editable_job_ids(job_ids)
    jobs = get_engine().jobs(job_ids)
    for job_id in job_ids:
        if job_id not in editable or job_id not in jobs:
            access.require_job(job_id, "edit")  # raises the error that says why
        elif jobs[job_id].task_id != task_id:
            raise InvalidRequest(
                f"Job {job_id} does not belong to task {task_id}: give the job only, or its task."
            )


# Parameters of `create_request` by the members of the body that have other names.
_PARAMETERS = {
    "function": "function_id",
    "task": "task_id",
    "tasks": "task_ids",
    "job": "job_id",
    "jobs": "job_ids",
    "project": "project_id",
}


def _arguments(data: dict[str, Any]) -> dict[str, Any]:
    found = {_PARAMETERS.get(name, name): value for name, value in data.items()}
    if "job_id" in found or "job_ids" in found:
        found.pop("task_id", None)  # it was checked; the jobs name the scope
    given = {name: found.pop(name) for name in _TRACKING if name in found}
    if given:
        shapes = tuple(given.pop("shapes", ()))
        found["tracking"] = Tracking(shapes=shapes, **given)
    return found
