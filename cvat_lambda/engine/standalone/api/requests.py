"""``/api/requests``: the processing of uploads."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, unquote

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins
from rest_framework.exceptions import NotFound
from rest_framework.viewsets import GenericViewSet

from cvat_lambda.engine.standalone import access, models, uploads
from cvat_lambda.engine.standalone.api import schema
from cvat_lambda.engine.standalone.api.base import EngineViewSet
from cvat_lambda.engine.standalone.api.serializers.data import RequestRead
from cvat_lambda.engine.standalone.api.sorting import Sorting
from cvat_lambda.rest.pagination import Pages


@extend_schema_view(
    list=extend_schema(responses={200: RequestRead(many=True), **schema.LIST_ERRORS}),
    retrieve=extend_schema(responses={200: RequestRead, **schema.READ_ERRORS}),
)
@extend_schema(tags=["requests"])
class RequestViewSet(
    EngineViewSet,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[models.DataRequest],
):
    """Uploads for tasks that the user may view. Ids may be percent-encoded."""

    queryset = models.DataRequest.objects.none()
    serializer_class = RequestRead
    pagination_class = Pages
    filter_backends = (Sorting,)
    sort_fields = {"created_date": "created_at", "status": "status"}
    lookup_value_regex = r"[^/]+"

    def get_queryset(self) -> QuerySet[models.DataRequest]:
        tasks = access.visible_tasks(self.request.user).values("pk")
        found = models.DataRequest.objects.filter(task__in=tasks)
        return found.select_related("user")

    def get_object(self) -> models.DataRequest:
        """Return the request; resume one whose process died. Raise NotFound."""
        found = self.get_queryset().filter(pk=_key(self.kwargs["pk"])).first()
        if found is None:
            raise NotFound("The request was not found.")
        uploads.revive(found)
        return found


def _key(rq_id: str) -> uuid.UUID:
    """Return KEY of ``action=create&target=task&target_id=N&id=KEY``. Raise NotFound."""
    try:
        (key,) = parse_qs(unquote(rq_id)).get("id", [""])
        return uuid.UUID(key)
    except ValueError:
        raise NotFound("The request was not found.") from None
