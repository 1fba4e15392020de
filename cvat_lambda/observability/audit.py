"""The audit log: ``cvat_lambda.audit`` says who deleted, undid, changed rights or deployed.

Entries are receivers of signals: `signals.action_taken` of the app, and Django's own for deleted
rows, changed rights and the admin site.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from cvat_lambda import signals
from cvat_lambda.observability.context import current_actor

logger = logging.getLogger("cvat_lambda.audit")

# Models whose deleted rows are audited, if they are installed. Those of the engine are the
# standalone engine's: CVAT keeps its own events of its objects.
USER: Final = "user"  # stands for the project's user model
DELETED: Final = (
    USER,
    "auth.Group",
    "cvat_lambda.Function",
    "engine.Project",
    "engine.Task",
)
# Fields that decide what somebody may do, by model.
RIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    USER: ("is_active", "is_staff", "is_superuser", "password"),
    "engine.Project": ("owner_id", "assignee_id"),
    "engine.Task": ("owner_id", "assignee_id"),
    "engine.Job": ("assignee_id",),
}
_GRANTING: Final = frozenset({"groups", "user_permissions", "permissions"})
_SECRET: Final = frozenset({"password"})


def record(action: str, object_kind: str, object_id: object, **details: Any) -> None:
    """Write an entry: who did what to which object."""
    user_id, user = current_actor()
    logger.info(
        "%s: %s %s %s",
        user,
        action,
        object_kind,
        object_id,
        extra={
            "action": action,
            "user_id": user_id,
            "user": user,
            "object_kind": object_kind,
            "object_id": str(object_id),
            "details": details,
        },
    )


def connect() -> None:
    """Connect the receivers; the models must be loaded."""
    signals.action_taken.connect(_on_action, dispatch_uid="cvat_lambda.audit")
    for name in DELETED:
        _connect(post_delete, _on_delete, name)
    for name in RIGHTS:
        _connect(pre_save, _before_save, name)
        _connect(post_save, _after_save, name)
    _connect(post_save, _on_admin_entry, "admin.LogEntry")
    if apps.is_installed("django.contrib.auth"):
        for model in (apps.get_model(settings.AUTH_USER_MODEL), apps.get_model("auth.Group")):
            for field in model._meta.many_to_many:
                if field.name in _GRANTING:
                    through = field.remote_field.through
                    m2m_changed.connect(
                        _on_members, sender=through, dispatch_uid=f"audit {through}"
                    )


def _connect(signal: Any, receiver: Any, name: str) -> None:
    try:
        model = apps.get_model(settings.AUTH_USER_MODEL if name == USER else name)
    except LookupError:  # the app is not installed
        return
    if name.startswith("engine.") and not model.__module__.startswith("cvat_lambda."):
        return
    signal.connect(receiver, sender=model, dispatch_uid=f"cvat_lambda.audit.{name}")


def _kind(sender: type[Model]) -> str:
    return str(sender._meta.model_name)


def _on_action(
    action: str, object_kind: str, object_id: object, details: Mapping[str, Any], **kwargs: object
) -> None:
    record(action, object_kind, object_id, **details)


def _on_delete(sender: type[Model], instance: Model, **kwargs: object) -> None:
    record("deleted", _kind(sender), instance.pk, name=str(instance))


def _is_user(model: type[Model]) -> bool:
    return model._meta.label == settings.AUTH_USER_MODEL


def _rights_of(model: type[Model]) -> list[str]:
    """Return the fields of `RIGHTS` that a model has."""
    names = {field.attname for field in model._meta.concrete_fields}
    wanted = RIGHTS[USER if _is_user(model) else model._meta.label]
    return [name for name in wanted if name in names]


def _before_save(
    sender: type[Model], instance: Model, update_fields: Any = None, **kwargs: object
) -> None:
    """Keep the old rights, to compare them when the row has been saved."""
    fields = _rights_of(sender)
    names = {field.removesuffix("_id") for field in fields} | set(fields)
    instance._audit_before = None  # type: ignore[attr-defined]
    if instance.pk is None or (update_fields is not None and not names & set(update_fields)):
        return
    before = sender._default_manager.filter(pk=instance.pk).values(*fields).first()
    instance._audit_before = before  # type: ignore[attr-defined]


def _after_save(
    sender: type[Model], instance: Model, created: bool = False, **kwargs: object
) -> None:
    before = getattr(instance, "_audit_before", None)
    if created and _is_user(sender):
        record("created", _kind(sender), instance.pk, name=str(instance))
    if before is None:
        return
    changed = {
        name: "changed" if name in _SECRET else getattr(instance, name)
        for name, old in before.items()
        if getattr(instance, name) != old
    }
    if changed:
        record("changed rights of", _kind(sender), instance.pk, **changed)


def _on_members(
    sender: type[Model], instance: Model, action: str, pk_set: Any, **kwargs: object
) -> None:
    if action in ("post_add", "post_remove", "post_clear"):
        record(
            "changed rights of",
            _kind(type(instance)),
            instance.pk,
            relation=_kind(sender),
            change=action.removeprefix("post_"),
            ids=sorted(pk_set or ()),
        )


def _on_admin_entry(sender: type[Model], instance: Any, created: bool, **kwargs: object) -> None:
    if created:
        words = {1: "added in the admin", 2: "changed in the admin", 3: "deleted in the admin"}
        record(
            words.get(instance.action_flag, "acted in the admin on"),
            str(instance.content_type.model if instance.content_type else "object"),
            instance.object_id,
            name=instance.object_repr,
        )
