"""The admin site's pages of functions. It lists all functions, and adds and changes endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from cvat_lambda.bounded_paginator import BoundedList
from cvat_lambda.errors import LambdaError
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import ENDPOINT, MISSING, NATIVE, Function
from cvat_lambda.functions.spec import Kind
from cvat_lambda.gateway.endpoints import Endpoint, endpoint_of, save_endpoint
from cvat_lambda.gateway.probe import probe

if TYPE_CHECKING:
    FunctionAdminBase = admin.ModelAdmin[Function]
    FormBase = forms.ModelForm[Function]
else:
    FunctionAdminBase = admin.ModelAdmin
    FormBase = forms.ModelForm


class EndpointForm(FormBase):
    """The form of an endpoint; `save_endpoint` checks and saves it."""

    endpoint: Endpoint  # set by `clean`

    id = forms.CharField(max_length=128, label="ID")
    kind = forms.ChoiceField(choices=[(kind.value, kind.value) for kind in Kind])
    labels = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text='JSON: [{"name": "car", "type": "rectangle", "attributes": []}, ...]',
    )
    token = forms.CharField(
        required=False,
        widget=forms.PasswordInput(render_value=False),
        help_text="Bearer token. Empty: the present one is kept.",
    )
    forget_token = forms.BooleanField(required=False, label="send no token")
    workers = forms.IntegerField(min_value=1, max_value=10_000, initial=1)
    max_body_bytes = forms.IntegerField(
        min_value=1, required=False, label="largest body, bytes", help_text="Empty: 4 MiB"
    )
    annotations = forms.JSONField(
        required=False,
        help_text='More annotations: {"version": "2", "min_pos_points": "1", "max_batch": "8"}',
    )

    class Meta:
        model = Function
        fields = ("name", "description", "endpoint_url", "timeout_s", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        instance = kwargs.get("instance")
        if instance is not None:
            known = endpoint_of(instance)
            kwargs["initial"] = {
                "id": known.function_id,
                "kind": known.kind,
                "labels": known.labels,
                "workers": known.workers,
                "max_body_bytes": known.max_body_bytes,
                "annotations": known.annotations,
                **(kwargs.get("initial") or {}),
            }
        super().__init__(*args, **kwargs)
        self.fields["endpoint_url"].required = True
        if instance is not None:
            self.fields["id"].disabled = True

    def clean_annotations(self) -> dict[str, str]:
        value = self.cleaned_data["annotations"] or {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise forms.ValidationError("Give an object whose values are text.")
        return value

    def clean(self) -> dict[str, Any]:
        """Check the endpoint as a whole; errors are shown above the form."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return data
        self.endpoint = Endpoint(
            function_id=data["id"],
            url=data["endpoint_url"],
            kind=data["kind"],
            labels=data["labels"],
            name=data["name"],
            description=data["description"],
            token="" if data["forget_token"] else data["token"] or self.instance.token,
            timeout_s=data["timeout_s"],
            workers=data["workers"],
            max_body_bytes=data["max_body_bytes"],
            annotations=data["annotations"],
        )
        try:
            self.endpoint.values()
        except LambdaError as exc:
            raise forms.ValidationError(exc.message) from exc
        return data


class KindFilter(admin.SimpleListFilter):
    """Filter by kind. Functions whose metadata cannot be used have none."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((kind.value, kind.value) for kind in Kind), ("unknown", "unknown")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        return queryset.filter(kind="" if value == "unknown" else value)


@admin.register(Function)
class FunctionAdmin(BoundedList, FunctionAdminBase):
    """All functions, including broken and missing ones. Only endpoints can be changed."""

    list_per_page = 50
    list_display = ("id", "name", "kind", "state", "enabled", "platform", "problem", "seen_at")
    list_filter = ("state", KindFilter, "platform", "enabled")
    search_fields = ("id", "name", "description")
    actions = ("refresh", "check_now", "enable", "disable")
    seen_fields = (
        "id",
        "name",
        "kind",
        "description",
        "version",
        "revision",
        "state",
        "message",
        "problem",
        "platform",
        "first_seen_at",
        "seen_at",
        "checked_at",
        "changed_at",
    )
    endpoint_fields = (
        "id",
        "kind",
        "name",
        "description",
        "endpoint_url",
        "token",
        "forget_token",
        "timeout_s",
        "workers",
        "max_body_bytes",
        "labels",
        "annotations",
        "enabled",
    )

    def get_form(
        self, request: HttpRequest, obj: Function | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None or obj.platform == ENDPOINT:
            kwargs["form"] = EndpointForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Function | None = None) -> Any:
        if obj is None or obj.platform == ENDPOINT:
            return self.endpoint_fields
        if obj.platform == NATIVE:
            return (*self.seen_fields, "owner", "private", "timeout_s", "enabled")
        return (*self.seen_fields, "enabled")

    def get_readonly_fields(self, request: HttpRequest, obj: Function | None = None) -> Any:
        if obj is None or obj.platform == ENDPOINT:
            return ()
        return (*self.seen_fields, "owner", "private")

    def has_delete_permission(self, request: HttpRequest, obj: Function | None = None) -> bool:
        """Only rows of missing functions can be deleted: the platform would list others again."""
        if obj is not None and obj.platform == NATIVE:
            return False  # an endpoint has its own page
        if obj is not None and obj.platform != ENDPOINT and obj.state != MISSING:
            return False
        return super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Function, form: Any, change: bool) -> None:
        """Save an endpoint by `save_endpoint`; save the editable fields of other functions."""
        if isinstance(form, EndpointForm):
            saved = save_endpoint(form.endpoint)
            saved.enabled = form.cleaned_data["enabled"]
            saved.save(update_fields=["enabled"])
            obj.pk = saved.pk
        else:
            obj.save(update_fields=["enabled", "timeout_s"])

    @admin.action(description="Refresh: read the functions of the platform again")
    def refresh(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        """Read the whole list of the platform, also beyond the chosen functions."""
        result = registry.refresh(force=True)
        if result.error:
            self.message_user(request, result.error, messages.ERROR)
        else:
            self.message_user(request, "The functions were read again.", messages.SUCCESS)

    @admin.action(description="Call once and check the answer", permissions=["change"])
    def check_now(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        """Probe the chosen functions."""
        for row in queryset:
            try:
                result = probe(registry.spec_of(row))
            except LambdaError as exc:
                self.message_user(request, f"{row.pk}: {exc.message}", messages.ERROR)
            else:
                self.message_user(
                    request,
                    f"{row.pk}: {result.summary} in {result.duration_s:.2f} s",
                    messages.SUCCESS,
                )

    @admin.action(description="Switch on", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        """Offer the chosen functions."""
        self._switch(queryset, enabled=True)

    @admin.action(description="Switch off", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        """Hide the chosen functions."""
        self._switch(queryset, enabled=False)

    def _switch(self, queryset: QuerySet[Function], *, enabled: bool) -> None:
        for row in queryset:
            row.enabled = enabled
            row.save(update_fields=["enabled"])
