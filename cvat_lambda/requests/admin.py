"""Requests in Django's admin: staff read, cancel and retry them, and edit no rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.utils.html import format_html

from cvat_lambda.bounded_paginator import BoundedList
from cvat_lambda.errors import LambdaError
from cvat_lambda.functions.spec import Kind
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.retry import resume_request, retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Outcome, Request, Shard, Status

if TYPE_CHECKING:  # Django's classes take type arguments only while a type checker reads them
    Admin = admin.ModelAdmin[Any]
    Inline = admin.TabularInline[Any, Any]
else:
    Admin = admin.ModelAdmin
    Inline = admin.TabularInline

USERNAME_FIELD: Final = get_user_model().USERNAME_FIELD


class ReadOnly:
    """The admin of rows that nobody may add, change or delete by hand."""

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        return False


class ShardInline(ReadOnly, Inline):
    """The shards of a request."""

    model = Shard
    extra = 0
    fields = (
        "index",
        "task_id",
        "job_id",
        "status",
        "worker",
        "heartbeat_at",
        "attempts",
        "done",
        "failed",
        "skipped",
        "total",
    )


class KindFilter(admin.SimpleListFilter):
    """Filter by the kind of the function, from the list of kinds."""

    title = "kind of function"
    parameter_name = "function_kind"

    def lookups(self, http_request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value) for kind in Kind]

    def queryset(self, http_request: HttpRequest, requests: QuerySet[Any]) -> QuerySet[Any]:
        return requests.filter(function_kind=self.value()) if self.value() else requests


@admin.register(Request)
class RequestAdmin(ReadOnly, BoundedList, Admin):
    """A list of requests with owner, function, progress and error."""

    list_display = (
        "id",
        "status",
        "progress",
        "failed",
        "function_id",
        "task_id",
        "owner",
        "shapes",
        "created_at",
        "ended_at",
        "error_message",
        "webhook",
    )
    # No filter that reads the values of all rows: a search finds functions, and a date hierarchy
    # would look at each row.
    list_filter = ("status", KindFilter, "created_at")
    list_select_related = ("owner",)
    search_fields = ("id", "function_id", f"owner__{USERNAME_FIELD}")
    sortable_by = ("id", "function_id", "task_id", "created_at")  # an index has their order
    inlines = (ShardInline,)
    actions = ("cancel_requests", "resume_requests", "retry_requests", "undo_requests")
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        """Add the recent rate of running requests, so that the list needs no query for each."""
        running = Shard.objects.filter(request=OuterRef("pk"), status=Status.STARTED)
        rate = running.order_by().values("request").annotate(sum=Sum("rate")).values("sum")
        found: QuerySet[Request] = super().get_queryset(request)
        return found.annotate(shards_rate=Subquery(rate))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Request], search_term: str
    ) -> tuple[QuerySet[Request], bool]:
        """Return the requests with this id, function or owner, each found by an index."""
        term = search_term.strip().replace("\x00", "")
        if not term:
            return queryset, False
        owners = get_user_model().objects.filter(**{USERNAME_FIELD: term})
        ids = list(owners.values_list("pk", flat=True))
        conditions = (Q(pk=term), Q(function_id=term), Q(owner_id__in=ids))
        # A single condition: the index of one has the order of the list.
        meant = [one for one in conditions if Request.objects.filter(one).exists()]
        return (queryset.filter(reduce(or_, meant)) if meant else queryset.none()), False

    def has_operate_permission(self, http_request: HttpRequest) -> bool:
        """Return whether the user may cancel and retry: the right to view is not enough."""
        return http_request.user.has_perm("cvat_lambda.change_request")

    @admin.display(description="progress")
    def progress(self, request: Request) -> str:
        """Return a bar, how many of all frames have an outcome, and the rate."""
        ended = request.done + request.failed + request.skipped
        rate: float | None = getattr(request, "shards_rate", None)
        shown = f", {rate:.1f} frames/s" if rate else ""
        return format_html(
            '<progress max="{}" value="{}" aria-label="frames that have ended"></progress>'
            " {} of {}{}",
            max(1, request.total),
            ended,
            ended,
            request.total,
            shown,
        )

    @admin.display(description="webhook")
    def webhook(self, request: Request) -> str:
        """Return whether and when the webhook was delivered."""
        tries = request.webhook_attempts
        if request.notified_at is not None:
            return f"delivered at {request.notified_at:%Y-%m-%d %H:%M}, attempt {tries}"
        if request.webhook_given_up_at is not None:
            return f"given up after {tries} attempts"
        if request.webhook_next_at is not None:
            return f"attempt {tries + 1} due at {request.webhook_next_at:%Y-%m-%d %H:%M}"
        return ""

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel_requests(self, http_request: HttpRequest, requests: QuerySet[Request]) -> None:
        """Stop requests at once; keep what they wrote."""
        for request in requests:
            cancel_request(request, user_id=http_request.user.pk)

    @admin.action(description="Run missing frames", permissions=["operate"])
    def resume_requests(self, http_request: HttpRequest, requests: QuerySet[Request]) -> None:
        """Resume requests; show a message if one cannot be resumed."""
        self._each(http_request, requests, resume_request)

    @admin.action(description="Run failed frames again", permissions=["operate"])
    def retry_requests(self, http_request: HttpRequest, requests: QuerySet[Request]) -> None:
        """Retry requests with failed frames; show a message if one cannot be retried."""
        self._each(http_request, requests, retry_request)

    @admin.action(description="Undo: remove what they added", permissions=["operate"])
    def undo_requests(self, http_request: HttpRequest, requests: QuerySet[Request]) -> None:
        """Undo requests; show a message if one cannot be undone."""
        self._each(
            http_request,
            requests,
            lambda request: undo_request(request, user_id=http_request.user.pk),
        )

    def _each(
        self,
        http_request: HttpRequest,
        requests: QuerySet[Request],
        action: Callable[[Request], object],
    ) -> None:
        for request in requests:
            try:
                action(request)
            except LambdaError as exc:
                self.message_user(http_request, exc.message, messages.WARNING)


@admin.register(Outcome)
class OutcomeAdmin(ReadOnly, BoundedList, Admin):
    """The outcomes of frames."""

    list_display = (
        "request",
        "task_id",
        "frame",
        "status",
        "code",
        "message",
        "attempts",
        "version",
    )
    list_filter = ("status",)  # a filter by code would read the codes of all rows
    list_select_related = ("request", "version")
    search_fields = ("request__id",)
    sortable_by = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Outcome], search_term: str
    ) -> tuple[QuerySet[Outcome], bool]:
        """Return the outcomes of the request with this id, which an index finds."""
        term = search_term.strip().replace("\x00", "")
        return (queryset.filter(request_id=term) if term else queryset), False
