"""URLs of ``/api/lambda/``, for inclusion at the root of a URL configuration."""

from __future__ import annotations

from django.urls import include, path

from cvat_lambda.api.functions import FunctionViewSet
from cvat_lambda.api.requests import RequestViewSet
from cvat_lambda.api.routers import LambdaRouter

# CVAT's permission tables know these basenames.
router = LambdaRouter()
router.register("functions", FunctionViewSet, basename="lambda_function")
router.register("requests", RequestViewSet, basename="lambda_request")

urlpatterns = [path("api/lambda/", include(router.urls))]
