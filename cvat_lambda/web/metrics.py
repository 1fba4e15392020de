"""``/metrics`` for administrators, by session or token, and for holders of the metrics token.

The address of the client gives no access: requests through a local reverse proxy come from
loopback, too.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

from django.conf import settings as django_settings
from django.http import Http404, HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from cvat_lambda.observability import metrics


@extend_schema(exclude=True)
class MetricsView(APIView):
    """Prometheus' text format. Everybody else gets 404."""

    permission_classes = (AllowAny,)  # `get` decides

    def get(self, request: Request) -> HttpResponse:
        if not (request.user.is_staff or self._has_metrics_token()):
            raise Http404
        return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Skip the authenticators for the metrics token, which belongs to no user."""
        return [] if self._has_metrics_token() else super().get_authenticators()

    def _has_metrics_token(self) -> bool:
        token = str(getattr(django_settings, "CVAT_LAMBDA_STANDALONE_METRICS_TOKEN", ""))
        request = getattr(self, "request", None)  # None while the API document is generated
        if request is None:
            return False
        given = request.META.get("HTTP_AUTHORIZATION", "")
        return token != "" and compare_digest(given.encode(), f"Bearer {token}".encode())

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Skip the negotiation: Prometheus accepts its own formats only, and the answer has one."""
        return super().perform_content_negotiation(request, force=True)


urlpatterns = [path("metrics", MetricsView.as_view(), name="cvat_lambda_metrics")]
