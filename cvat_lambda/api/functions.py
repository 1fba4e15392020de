"""``/api/lambda/functions``: the list of functions, and calls."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from cvat_lambda.agents.access import find_function, usable_rows, visible
from cvat_lambda.annotations.mask_text import MaskText, splice
from cvat_lambda.api import function_list, schema
from cvat_lambda.api.base import LambdaViewSet, unknown_targets_answer_400
from cvat_lambda.api.browser_compat import is_browser
from cvat_lambda.api.call_limits import call_limits
from cvat_lambda.api.serializers.calls import OnlineFunctionCallRequestSerializer
from cvat_lambda.api.serializers.functions import FunctionsQuerySerializer
from cvat_lambda.api.streams import EVENT_STREAM, JSON_LINES, StreamNegotiation, stream
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access
from cvat_lambda.errors import FunctionNotFound
from cvat_lambda.functions import registry
from cvat_lambda.functions.describe import describe
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.interactive.answer_call import answer_call, stream_call
from cvat_lambda.interactive.params import CallParams

FUNCTION_ID: Final = re.compile(schema.FUNCTION_ID_PATTERN, re.ASCII)
CALL_BODY: Final = OnlineFunctionCallRequestSerializer()


@extend_schema(tags=["lambda"])
@extend_schema_view(
    list=extend_schema(
        operation_id="lambda_list_functions",
        summary="List functions",
        parameters=[FunctionsQuerySerializer],
        responses={200: schema.FunctionListSerializer, **schema.errors(400, 403, 404, 503)},
    ),
    retrieve=extend_schema(
        operation_id="lambda_retrieve_functions",
        summary="Get a function",
        parameters=[schema.FUNCTION_ID],
        responses={200: schema.FunctionSerializer, **schema.errors(403, 404, 502)},
    ),
)
class FunctionViewSet(LambdaViewSet):
    """Functions of the registry, which answers while their platform is down."""

    lookup_field = "func_id"
    lookup_value_regex = "[^/]+"  # the answer is JSON in any case
    content_negotiation_class = StreamNegotiation

    def list(self, request: HttpRequest) -> HttpResponse:
        """List functions: as an array without pages, as in CVAT, unless the query wants a page."""
        query = FunctionsQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        compact = query.validated_data.get("fields") == "compact"
        if query.validated_data.keys() & {"page", "page_size"}:
            rows = usable_rows(self.access(), ask=True)
            return function_list.respond_page(request, self, rows, compact=compact)
        found = visible(self.access(), registry.listed(ask=True))
        answer = function_list.respond_short if compact else function_list.respond
        return answer(request, found)

    def retrieve(self, request: HttpRequest, func_id: str) -> Response:
        return Response(
            describe(self._find(func_id, registry.Ask.ALWAYS), to_page=is_browser(request))
        )

    @extend_schema(
        operation_id="lambda_create_functions",
        summary="Call a function for one frame and wait for its answer",
        parameters=[schema.FUNCTION_ID],
        request=OnlineFunctionCallRequestSerializer,
        responses={
            200: OpenApiResponse(schema.CALL_ANSWER, description="By the function's kind"),
            (200, JSON_LINES): schema.STREAMED_FRAME,
            (200, EVENT_STREAM): schema.STREAMED_FRAME,
            **schema.errors(400, 403, 404, 413, 415, 422, 429, 502, 503, 504),
        },
    )
    @unknown_targets_answer_400()
    def call(self, request: HttpRequest, func_id: str) -> HttpResponseBase:
        function = self._find(func_id, registry.Ask.IF_NOT_READY)
        access = self.access()
        params = CALL_BODY.params(request.data, from_browser=is_browser(request))
        if params.steps is not None:
            return stream(request, _streamed(request, access, function, params))
        with call_limits.hold(access.user_id, function.id):
            answer: Any = answer_call(get_engine(), access, function, params, http_request=request)
        return _response(request, answer)

    def _find(self, function_id: str, ask: registry.Ask) -> FunctionSpec:
        """Return a function. Raise FunctionNotFound, FunctionSpecInvalid."""
        self.check_detail(function_id)
        if not FUNCTION_ID.fullmatch(function_id):
            raise FunctionNotFound
        return find_function(self.access(), function_id, ask=ask)


def _streamed(
    request: HttpRequest, access: Access, function: FunctionSpec, params: CallParams
) -> Generator[dict[str, Any], None, None]:
    with call_limits.hold(access.user_id, function.id):
        yield from stream_call(get_engine(), access, function, params, http_request=request)


def _response(request: HttpRequest, answer: Any) -> HttpResponse:
    """Return the answer as a response; the text of a mask is passed on unparsed."""
    mask = answer.get("mask") if isinstance(answer, dict) else None
    renderer = request.accepted_renderer
    if not isinstance(mask, MaskText) or not isinstance(renderer, JSONRenderer):
        return Response(answer)
    others = {name: value for name, value in answer.items() if name != "mask"}
    text = splice(mask, renderer.render(others, request.accepted_media_type))
    return HttpResponse(text, content_type=renderer.media_type)
