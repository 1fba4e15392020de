"""The engine's tables in Django's admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import Count, QuerySet
from django.forms import BaseInlineFormSet, Select
from django.forms.utils import flatatt
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from cvat_lambda.bounded_paginator import BoundedList
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import delete_project, delete_task

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
    Inline = admin.TabularInline[Any, Any]
else:
    Admin = admin.ModelAdmin
    Inline = admin.TabularInline

USERNAME_FIELD: Final = get_user_model().USERNAME_FIELD


class _NamedFormset(BaseInlineFormSet):  # type: ignore[type-arg]
    """Gives each field of a table its name for screen readers: the table has only a heading."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        for name, field in form.fields.items():
            field.widget.attrs["aria-label"] = str(field.label or name.lower())


class _ShortDeletion:
    """Names only the rows to delete on the page that asks for a confirmation.

    Django would read and list all that belongs to them, such as the annotations of a task.
    """

    opts: Any

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return what to list, the numbers of rows, missing permissions and protected rows."""
        names = [str(obj) for obj in objs]
        listed = [*names, "and all that belongs to it: jobs, frames, annotations"]
        return listed, {self.opts.verbose_name_plural: len(names)}, set(), []


class _QuickSelect(Select):
    """A select without a template for each option: a task with many labels has hundreds of them."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> Any:
        chosen = {str(one) for one in self.format_value(value)}
        options = [
            (key, mark_safe(" selected") if str(key) in chosen else "", label)
            for key, label in self.choices
        ]
        return format_html(
            "<select{}>{}</select>",
            flatatt({**self.build_attrs(self.attrs, attrs), "name": name}),
            format_html_join("", '<option value="{}"{}>{}</option>', options),
        )


class _LabelInline(Inline):
    model = models.Label
    formset = _NamedFormset
    fields = ("name", "type", "color")
    extra = 0
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Label]:
        return super().get_queryset(request).filter(parent__isnull=True)

    def formfield_for_choice_field(self, db_field: Any, request: Any, **options: Any) -> Any:
        return super().formfield_for_choice_field(
            db_field, request, **{**options, "widget": _QuickSelect}
        )


class _AttributeInline(Inline):
    model = models.AttributeSpec
    formset = _NamedFormset
    extra = 0


class _SegmentInline(Inline):
    model = models.Segment
    fields = ("start_frame", "stop_frame")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(models.Project)
class ProjectAdmin(_ShortDeletion, BoundedList, Admin):
    list_display = ("id", "name", "owner", "assignee", "tasks_count", "updated_at")
    list_display_links = ("id", "name")
    list_select_related = ("owner", "assignee")
    search_fields = ("name", f"owner__{USERNAME_FIELD}")
    raw_id_fields = ("owner", "assignee")
    inlines = (_LabelInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Project]:
        found: QuerySet[models.Project] = super().get_queryset(request)
        return found.annotate(_tasks=Count("tasks"))

    @admin.display(description="tasks", ordering="_tasks")
    def tasks_count(self, project: Any) -> int:
        return int(project._tasks)

    def delete_model(self, request: HttpRequest, obj: models.Project) -> None:
        """Delete the project as the API does."""
        delete_project(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[models.Project]) -> None:
        """Delete the projects as the API does."""
        for project in queryset:
            delete_project(project)


@admin.register(models.Task)
class TaskAdmin(_ShortDeletion, BoundedList, Admin):
    list_display = ("id", "name", "project", "owner", "assignee", "frames", "kind", "updated_at")
    list_display_links = ("id", "name")
    list_filter = ("data__kind",)
    list_select_related = ("project", "owner", "assignee", "data")
    search_fields = ("name", f"owner__{USERNAME_FIELD}", "project__name")
    raw_id_fields = ("owner", "assignee", "project")
    readonly_fields = ("segment_size", "overlap")
    inlines = (_LabelInline, _SegmentInline)

    @admin.display(ordering="data__size")
    def frames(self, task: models.Task) -> int:
        data = getattr(task, "data", None)
        return data.size if data is not None else 0

    @admin.display(ordering="data__kind")
    def kind(self, task: models.Task) -> str:
        data = getattr(task, "data", None)
        return data.get_kind_display() if data is not None else "no frames yet"

    def delete_model(self, request: HttpRequest, obj: models.Task) -> None:
        """Delete the task as the API does."""
        delete_task(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[models.Task]) -> None:
        """Delete the tasks as the API does."""
        for task in queryset:
            delete_task(task)


@admin.register(models.Job)
class JobAdmin(_ShortDeletion, BoundedList, Admin):
    list_display = ("id", "task", "type", "first", "last", "assignee", "stage", "state")
    list_filter = ("type", "stage", "state")
    list_select_related = ("segment__task", "assignee")
    search_fields = ("segment__task__name", f"assignee__{USERNAME_FIELD}")
    raw_id_fields = ("segment", "assignee", "parent")

    @admin.display(ordering="segment__task")
    def task(self, job: models.Job) -> str:
        return str(job.segment.task)

    @admin.display(description="first frame", ordering="segment__start_frame")
    def first(self, job: models.Job) -> int:
        return job.segment.start_frame

    @admin.display(description="last frame", ordering="segment__stop_frame")
    def last(self, job: models.Job) -> int:
        return job.segment.stop_frame


@admin.register(models.Label)
class LabelAdmin(_ShortDeletion, BoundedList, Admin):
    list_display = ("id", "name", "type", "color", "task", "project", "parent")
    list_filter = ("type",)
    list_select_related = ("task", "project", "parent")
    list_per_page = 50
    search_fields = ("name", "task__name", "project__name")
    raw_id_fields = ("task", "project", "parent")
    inlines = (_AttributeInline,)


@admin.register(models.DataRequest)
class DataRequestAdmin(BoundedList, Admin):
    list_display = ("created_at", "task", "user", "status", "message", "started_at", "ended_at")
    list_filter = ("status",)
    list_select_related = ("task", "user")
    search_fields = ("task__name", f"user__{USERNAME_FIELD}")
    readonly_fields = ("task", "user", "parameters", "created_at", "started_at", "ended_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(models.AccessToken)
class AccessTokenAdmin(BoundedList, Admin):
    list_display = ("id", "name", "user", "read_only", "created_at", "expires_at", "last_used_at")
    list_filter = ("read_only",)
    list_select_related = ("user",)
    search_fields = ("name", f"user__{USERNAME_FIELD}")
    raw_id_fields = ("user",)
    readonly_fields = ("created_at", "last_used_at")

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Give date and time, which are fields of their own, their names for screen readers."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        for widget, word in zip(
            getattr(getattr(field, "widget", None), "widgets", ()), ("date", "time"), strict=False
        ):
            widget.attrs["aria-label"] = f"{db_field.verbose_name}, {word}"
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save; show the secret of a new token once."""
        if change:
            super().save_model(request, obj, form, change)
            return
        made, key = models.AccessToken.create(
            obj.user, name=obj.name, read_only=obj.read_only, expires_at=obj.expires_at
        )
        obj.pk = made.pk
        messages.warning(request, f"The token, which is not shown again: {key}")
