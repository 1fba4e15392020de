"""``/api/projects``."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from cvat_lambda.engine.standalone import access, models
from cvat_lambda.engine.standalone.api import schema
from cvat_lambda.engine.standalone.api.base import ID_PATTERN, EngineViewSet
from cvat_lambda.engine.standalone.api.fields import username_lookup
from cvat_lambda.engine.standalone.api.labels import change_labels
from cvat_lambda.engine.standalone.api.serializers.tasks import (
    NewProject,
    ProjectChange,
    ProjectRead,
    load_subsets,
)
from cvat_lambda.engine.standalone.api.sorting import Sorting
from cvat_lambda.engine.standalone.api.tasks import change_owned
from cvat_lambda.engine.standalone.tasks import create_project, delete_project
from cvat_lambda.errors import PermissionDenied
from cvat_lambda.rest.pagination import Pages
from cvat_lambda.rest.queries import filtered_by_text

_FILTER_TEXTS = {"name": "name", "search": "name__icontains", "owner": username_lookup("owner")}


@extend_schema_view(
    list=extend_schema(
        parameters=[schema.query(name) for name in _FILTER_TEXTS],
        responses={200: ProjectRead(many=True), **schema.LIST_ERRORS},
    ),
    retrieve=extend_schema(responses={200: ProjectRead, **schema.READ_ERRORS}),
    destroy=extend_schema(responses={204: None, **schema.READ_ERRORS}),
)
@extend_schema(tags=["projects"])
class ProjectViewSet(
    EngineViewSet,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[models.Project],
):
    """Projects that the user may view."""

    queryset = models.Project.objects.none()
    serializer_class = ProjectRead
    pagination_class = Pages
    filter_backends = (Sorting,)
    sort_fields = {
        "id": "pk",
        "name": "name",
        "owner": username_lookup("owner"),
        "assignee": username_lookup("assignee"),
        "created_date": "created_at",
        "updated_date": "updated_at",
    }
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> QuerySet[models.Project]:
        found = access.visible_projects(self.request.user)
        if self.action == "list":
            found = filtered_by_text(found, self.request.query_params, _FILTER_TEXTS)
        return found.select_related("owner", "assignee")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the projects of a page with the numbers of their tasks."""
        projects = super().paginate_queryset(queryset)
        load_subsets(projects or ())
        return projects

    @extend_schema(request=NewProject, responses={201: ProjectRead, **schema.WRITE_ERRORS})
    def create(self, request: Request) -> Response:
        """Create a project with its labels."""
        form = NewProject(data=request.data)
        form.is_valid(raise_exception=True)
        values = form.validated_data
        project = create_project(
            request.user,
            values["name"],
            values["labels"],
            assignee=values.get("assignee_id"),
            bug_tracker=values["bug_tracker"],
        )
        return Response(self.get_serializer(project).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ProjectChange, responses={200: ProjectRead, **schema.WRITE_ERRORS})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name, assignee or labels."""
        project = self.get_object()
        if not access.editable_projects(request.user).filter(pk=project.pk).exists():
            raise PermissionDenied(f"you may see project #{project.pk}, but not change it")
        form = ProjectChange(project, data=request.data)
        form.is_valid(raise_exception=True)
        with transaction.atomic():
            change_owned(project, form.validated_data)
            change_labels(form.validated_data.get("labels", ()), project=project)
        return Response(self.get_serializer(self.get_queryset().get(pk=project.pk)).data)

    def perform_destroy(self, instance: models.Project) -> None:
        """Delete a project and its tasks. Raise PermissionDenied."""
        if not access.owned_projects(self.request.user).filter(pk=instance.pk).exists():
            raise PermissionDenied(f"only its owner may delete project #{instance.pk}")
        delete_project(instance)
