"""The URLs of the standalone server."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from cvat_lambda.server import health_urls

handler403 = "cvat_lambda.web.errors.forbidden"
handler404 = "cvat_lambda.web.errors.not_found"
handler500 = "cvat_lambda.web.errors.server_error"

urlpatterns = [
    *health_urls.urlpatterns,
    path("", include("cvat_lambda.api.urls")),
    path("api/", include("cvat_lambda.engine.standalone.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("cvat_lambda.web.urls")),
]
