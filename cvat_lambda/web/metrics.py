"""``/metrics``: for administrators, by a session or a token, and for who asks from this machine."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from cvat_lambda.observability import metrics


@extend_schema(exclude=True)
class MetricsView(APIView):
    """Prometheus' text format; nobody else is told that it is there."""

    permission_classes = (AllowAny,)  # `get` decides

    def get(self, request: Request) -> HttpResponse:
        is_near = request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1")
        is_forwarded = "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META
        if not (request.user.is_staff or (is_near and not is_forwarded)):
            raise Http404
        return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Prometheus accepts its own formats only, and the answer is in one."""
        return super().perform_content_negotiation(request, force=True)


urlpatterns = [path("metrics", MetricsView.as_view(), name="cvat_lambda_metrics")]
