"""Everything that the standalone server answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("cvat_lambda.api.urls")),
    path("api/", include("cvat_lambda.engine.standalone.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("cvat_lambda.web.urls")),
]
