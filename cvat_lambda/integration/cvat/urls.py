"""URLs of a CVAT server with this app: those of the app and all of CVAT's."""

from __future__ import annotations

from typing import Any, Final

import cvat.urls
from django.urls import include, path
from django.views.generic import RedirectView
from rest_framework.routers import SimpleRouter

from cvat_lambda.integration.cvat.requests_view import RequestViewSet

REPLACED: Final = "cvat.apps.redis_handler.urls"

# The same routes as CVAT's, so that clients and the API document see no difference.
_router = SimpleRouter(trailing_slash=False)
_router.register("requests", RequestViewSet, basename="request")


def _is_replaced(pattern: Any) -> bool:
    return getattr(getattr(pattern, "urlconf_module", None), "__name__", "") == REPLACED


urlpatterns = [
    path("", include("cvat_lambda.api.urls")),
    path("api/lambda/", include("cvat_lambda.web.metrics")),
    path("api/lambda/console/", include("cvat_lambda.web.console_urls")),
    path("api/lambda/console", RedirectView.as_view(url="/api/lambda/console/requests")),
    path("api/lambda/console/", RedirectView.as_view(url="/api/lambda/console/requests")),
    path("api/", include(_router.urls)),
    *(pattern for pattern in cvat.urls.urlpatterns if not _is_replaced(pattern)),
]
