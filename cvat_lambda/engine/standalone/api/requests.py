"""``/api/requests``: the processing of uploads, exports and imports."""

from __future__ import annotations

import uuid
from typing import Any
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
from cvat_lambda.engine.standalone.exchange import work
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

    def get_object(self) -> Any:
        """Return an upload, an export or an import; resume one whose process died.

        Raise NotFound.
        """
        key = _key(self.kwargs["pk"])
        found = self.get_queryset().filter(pk=key).first()
        if found is not None:
            uploads.revive(found)
            return found
        mine = models.Exchange.objects.select_related("user").filter(
            user_id=self.request.user.pk or 0
        )
        exchange = mine.filter(pk=key).first()
        if exchange is None:
            raise NotFound("The request was not found.")
        work.revive(exchange)
        return exchange


def _key(rq_id: str) -> uuid.UUID:
    """Return KEY of ``action=create&target=task&target_id=N&id=KEY``. Raise NotFound."""
    try:
        (key,) = parse_qs(unquote(rq_id)).get("id", [""])
        return uuid.UUID(key)
    except ValueError:
        raise NotFound("The request was not found.") from None
