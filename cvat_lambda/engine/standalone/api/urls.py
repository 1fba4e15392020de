"""The engine's URLs, for inclusion at ``/api/``, with and without a trailing slash."""

from __future__ import annotations

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from cvat_lambda.engine.standalone.api import server
from cvat_lambda.engine.standalone.api.jobs import JobViewSet
from cvat_lambda.engine.standalone.api.labels import LabelViewSet
from cvat_lambda.engine.standalone.api.projects import ProjectViewSet
from cvat_lambda.engine.standalone.api.requests import RequestViewSet
from cvat_lambda.engine.standalone.api.schema import SchemaView
from cvat_lambda.engine.standalone.api.tasks import TaskViewSet


class EngineRouter(SimpleRouter):
    """Accepts a trailing slash: clients send some, and a redirect would lose the body of a POST."""

    def __init__(self) -> None:
        super().__init__(trailing_slash=False)
        self.trailing_slash = "/?"


router = EngineRouter()
router.register("tasks", TaskViewSet, basename="tasks")
router.register("jobs", JobViewSet, basename="jobs")
router.register("labels", LabelViewSet, basename="labels")
router.register("projects", ProjectViewSet, basename="projects")
router.register("requests", RequestViewSet, basename="requests")

urlpatterns = [
    re_path(r"^server/about/?$", server.AboutView.as_view(), name="server-about"),
    re_path(r"^server/plugins/?$", server.PluginsView.as_view(), name="server-plugins"),
    re_path(r"^server/annotation/formats/?$", server.FormatsView.as_view(), name="server-formats"),
    re_path(r"^auth/login/?$", server.LoginView.as_view(), name="auth-login"),
    re_path(r"^auth/logout/?$", server.LogoutView.as_view(), name="auth-logout"),
    re_path(r"^users/self/?$", server.SelfView.as_view(), name="users-self"),
    re_path(r"^schema/?$", SchemaView.as_view(), name="schema"),
    path("", include(router.urls)),
    re_path(r"", server.UnknownView.as_view(), name="unknown"),
]
