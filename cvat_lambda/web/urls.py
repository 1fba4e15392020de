"""URLs of the standalone server's pages: the console, tasks and frames, login."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.decorators.http import require_POST

from cvat_lambda.web import task_views

urlpatterns = [
    path("", task_views.home, name="home"),
    path("login", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout", require_POST(LogoutView.as_view()), name="logout"),
    path("tasks/new", task_views.new_task, name="new-task"),
    path("tasks/<int:task_id>", task_views.task, name="task"),
    path("tasks/<int:task_id>/frames/<int:number>", task_views.frame, name="frame"),
    path("tasks/<int:task_id>/frames/<int:number>/data", task_views.frame_data, name="frame-data"),
    path("tasks/<int:task_id>/tracks/<int:track_id>", task_views.track_data, name="track-data"),
    path("", include("cvat_lambda.web.console_urls")),
    path("", include("cvat_lambda.web.metrics")),
]
