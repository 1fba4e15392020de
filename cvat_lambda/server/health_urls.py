"""The URLs of a host without the role web: its health pages."""

from __future__ import annotations

from django.urls import path

from cvat_lambda.server import health

urlpatterns = [
    path("health", health.live, name="health"),
    path("health/ready", health.ready, name="health-ready"),
]
