"""URLs of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.decorators.http import require_POST

from cvat_lambda.web import views

urlpatterns = [
    path("", views.home, name="home"),
    path("login", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout", require_POST(LogoutView.as_view()), name="logout"),
    path("functions", views.functions, name="functions"),
    path("tasks/<int:task_id>", views.task, name="task"),
    path("tasks/<int:task_id>/frames/<int:number>", views.frame, name="frame"),
    path("requests/<str:request_id>", views.request_detail, name="request"),
    path("requests/<str:request_id>/progress", views.request_progress, name="request-progress"),
    path("", include("cvat_lambda.web.metrics")),
]
