"""The admin site's pages of native functions, their agents and their queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from cvat_lambda.agents import store
from cvat_lambda.agents.models import WAITING, Agent, NativeFunction, QueueEntry
from cvat_lambda.bounded_paginator import BoundedList

if TYPE_CHECKING:
    NativeAdminBase = admin.ModelAdmin[NativeFunction]
    EntryAdminBase = admin.ModelAdmin[QueueEntry]
    InlineBase = admin.TabularInline[Agent, NativeFunction]
else:
    NativeAdminBase = EntryAdminBase = admin.ModelAdmin
    InlineBase = admin.TabularInline


class AgentInline(InlineBase):
    """The agents of a function; they come and go by themselves."""

    model = Agent
    fields = readonly_fields = ("agent_id", "user", "first_seen_at", "heard_at")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(NativeFunction)
class NativeFunctionAdmin(BoundedList, NativeAdminBase):
    """Native functions. Their owners create them with ``cvat-cli function create-native``."""

    list_display = ("id", "name", "kind", "owner", "private", "state", "agents_known", "waiting")
    list_select_related = ("function", "function__owner")
    fields = readonly_fields = ("function", "owner", "private", "state", "spec", "created_at")
    search_fields = ("function__name",)
    inlines = (AgentInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[NativeFunction]:
        """Add the numbers of agents and entries, so that the list needs no query for each row."""
        agents = _count_of(Agent.objects.all())
        waiting = _count_of(QueueEntry.objects.filter(state__in=WAITING))
        found: QuerySet[NativeFunction] = super().get_queryset(request)
        return found.annotate(agents_number=agents, waiting_number=waiting)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: NativeFunction) -> None:
        """Delete the function as the API does, so that its agents end."""
        store.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete the functions as the API does, so that their agents end."""
        for native in queryset:
            store.delete(native)

    def name(self, native: NativeFunction) -> str:
        return "" if native.function is None else native.function.name

    def kind(self, native: NativeFunction) -> str:
        return "" if native.function is None else native.function.kind

    def owner(self, native: NativeFunction) -> Any:
        return None if native.function is None else native.function.owner

    def state(self, native: NativeFunction) -> str:
        return "" if native.function is None else native.function.state

    @admin.display(boolean=True)
    def private(self, native: NativeFunction) -> bool:
        return native.function is not None and native.function.private

    @admin.display(description="agents")
    def agents_known(self, native: Any) -> int:
        return int(native.agents_number or 0)

    @admin.display(description="entries in the queue")
    def waiting(self, native: Any) -> int:
        return int(native.waiting_number or 0)


def _count_of(rows: QuerySet[Any]) -> Subquery:
    """Return the number of rows that belong to a native function."""
    mine = rows.filter(function=OuterRef("pk")).order_by().values("function")
    return Subquery(mine.annotate(number=Count("pk")).values("number"))


@admin.register(QueueEntry)
class QueueEntryAdmin(BoundedList, EntryAdminBase):
    """The queue, to look at; ended entries are deleted after some minutes."""

    list_display = (
        "id",
        "function",
        "category",
        "state",
        "agent_id",
        "created_at",
        "assigned_at",
        "ended_at",
        "error_message",
    )
    list_filter = ("state", "category")
    list_select_related = ("function",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
