"""The URLs of the standalone server."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from cvat_lambda.server import health_urls

urlpatterns = [
    *health_urls.urlpatterns,
    path("", include("cvat_lambda.api.urls")),
    path("api/", include("cvat_lambda.engine.standalone.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("cvat_lambda.web.urls")),
]
