"""URLs of ``/api/lambda/`` and ``/api/functions``, to be included at the root."""

from __future__ import annotations

from typing import Any

from django.urls import include, path

from cvat_lambda.api.functions import FunctionViewSet
from cvat_lambda.api.native_functions import NativeFunctionViewSet
from cvat_lambda.api.requests import RequestViewSet
from cvat_lambda.api.routers import LambdaRouter

# CVAT's permission tables know these basenames.
router = LambdaRouter()
router.register("functions", FunctionViewSet, basename="lambda_function")
router.register("requests", RequestViewSet, basename="lambda_request")


def _native(**actions: Any) -> Any:
    return NativeFunctionViewSet.as_view(actions, basename="native_function")


_QUEUE = "api/functions/queues/function:<int:pk>"
_ENTRY = f"{_QUEUE}/requests/<int:ar_id>"
urlpatterns = [
    path("api/lambda/", include(router.urls)),
    path("api/functions", _native(post="create"), name="lambda_native_create"),
    path(
        "api/functions/<int:pk>",
        _native(get="retrieve", delete="destroy"),
        name="lambda_native_detail",
    ),
    path(f"{_QUEUE}/watch", _native(get="watch"), name="lambda_native_watch"),
    path(f"{_QUEUE}/requests/acquire", _native(post="acquire"), name="lambda_native_acquire"),
    path(f"{_ENTRY}/update", _native(post="update_entry"), name="lambda_native_update"),
    path(f"{_ENTRY}/complete", _native(post="complete"), name="lambda_native_complete"),
    path(f"{_ENTRY}/fail", _native(post="fail"), name="lambda_native_fail"),
]
