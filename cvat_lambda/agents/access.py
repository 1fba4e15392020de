"""Who may see a function, and who may run agents of a native one.

A private function is visible to its owner, to the members of the organization that it was made
in, and to administrators. Only its owner and administrators may delete a native function, run its
agents and get its annotation requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.db.models import Case, Q, QuerySet, Value, When

from cvat_lambda.agents.models import NativeFunction
from cvat_lambda.engine.port import Access
from cvat_lambda.errors import (
    FunctionNotFound,
    FunctionSpecInvalid,
    PermissionDenied,
    PlatformUnreachable,
)
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import CALLABLE, Function
from cvat_lambda.functions.spec import Audience, FunctionSpec, Kind
from cvat_lambda.prepared import PreparedQuery

_WHOLE: PreparedQuery[NativeFunction] = PreparedQuery(
    lambda pk: NativeFunction.objects.filter(pk=pk).select_related("function").order_by(), int
)
# Agents need it for every frame, and not the description.
_WITHOUT_SPEC: PreparedQuery[NativeFunction] = PreparedQuery(
    lambda pk: (
        NativeFunction.objects.filter(pk=pk)
        .select_related("function")
        .defer("spec", "function__metadata")
        .order_by()
    ),
    int,
)


def find_function(
    access: Access, function_id: str, *, ask: registry.Ask = registry.Ask.NEVER
) -> FunctionSpec:
    """Return a function that the user may see. Raise FunctionNotFound, FunctionSpecInvalid."""
    hidden = FunctionNotFound(f"function '{function_id}' was not found")
    try:
        spec = registry.get(function_id, ask=ask)
    except FunctionSpecInvalid:
        if visible_rows(access).filter(pk=function_id).exists():
            raise
        raise hidden from None
    if not may_see(access, spec.audience):
        raise hidden
    return spec


def visible(access: Access, specs: Iterable[FunctionSpec]) -> list[FunctionSpec]:
    """Return the functions that the user may see."""
    return [spec for spec in specs if may_see(access, spec.audience)]


def offered(
    access: Access, kinds: Collection[Kind], *, search: str = "", also: str = "", limit: int
) -> tuple[list[FunctionSpec], bool]:
    """Return usable functions for a form, those that can be called first, and if there are more.

    ``search`` is a part of their id or name. The function ``also`` comes in any case, if the user
    may see it. Return none if the platform was never reached.
    """
    try:
        usable = usable_rows(access).filter(kind__in=[kind.value for kind in kinds])
    except PlatformUnreachable:
        return [], False
    callable_first = Case(When(state__in=CALLABLE, then=Value(0)), default=Value(1))
    rows = search_rows(usable, search).order_by(callable_first, "id")
    changes = list(rows.values_list("pk", "changed_at")[: limit + 1])
    shown = changes[:limit]
    if also and "\x00" not in also and also not in dict(shown):
        shown += usable.filter(pk=also).values_list("pk", "changed_at")
    return registry.specs_of(shown), len(changes) > limit


def usable_rows(access: Access, *, ask: bool = False) -> QuerySet[Function]:
    """Return the rows of usable functions that the user may see. Raise PlatformUnreachable."""
    return registry.usable_rows(ask=ask) & visible_rows(access)


def search_rows(rows: QuerySet[Function], text: str) -> QuerySet[Function]:
    """Return the functions that have the text in their id or name; all without a text."""
    wanted = text.replace("\x00", "").strip()
    return rows.filter(Q(id__icontains=wanted) | Q(name__icontains=wanted)) if wanted else rows


def visible_rows(access: Access) -> QuerySet[Function]:
    """Return the rows of the functions that the user may see, also of broken and missing ones."""
    rows = registry.rows()
    if access.sees_everything:
        return rows
    private = rows.filter(private=True).exclude(organization_id=None).order_by()
    named = private.values_list("organization_id", flat=True).distinct()
    shared = [number for number in named if number is not None and access.is_member(number)]
    return rows.filter(
        Q(private=False) | Q(owner_id=access.user_id) | Q(organization_id__in=shared)
    )


def may_see(access: Access, audience: Audience | None) -> bool:
    """Return whether the user may see a function."""
    if audience is None or audience.owner_id == access.user_id or access.sees_everything:
        return True
    organization_id = audience.organization_id
    return organization_id is not None and access.is_member(organization_id)


def find_native(access: Access, pk: int, *, edit: bool = False) -> NativeFunction:
    """Return a native function that the user may see, or with ``edit`` delete and run.

    Raise FunctionNotFound, PermissionDenied.
    """
    native = (_WITHOUT_SPEC if edit else _WHOLE).first(pk)
    function = None if native is None else native.function
    if native is None or function is None or not may_see(access, registry.audience_of(function)):
        raise FunctionNotFound(f"native function #{pk} was not found")
    if edit and function.owner_id != access.user_id and not access.sees_everything:
        raise PermissionDenied(
            f"you may use native function #{pk}, but only its owner and administrators may"
            " run its agents or delete it"
        )
    return native
