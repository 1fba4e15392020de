"""Permissions of the lambda API, decided by CVAT's policy server with the rules of this app."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from cvat.apps.iam.permissions import (
    OpenPolicyAgentPermission,
    PermissionResult,
    StrEnum,
    get_iam_context,
)
from django.conf import settings

from cvat_lambda.engine.cvat import compat, policy
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.models import Request
from cvat_lambda.rest.fields import INT_MAX
from cvat_lambda.rest.queries import whole_number


class Scopes(StrEnum):  # type: ignore[misc]
    """The scopes of ``rules/cvat_lambda.rego``."""

    LIST = "list"
    VIEW = "view"
    CALL_ONLINE = "call:online"
    CALL_OFFLINE = "call:offline"
    LIST_OFFLINE = "list:offline"


# By the basename of a view and its action. CVAT raises an AssertionError for an action without one.
SCOPES: Final = {
    ("lambda_function", "list"): Scopes.LIST,
    ("lambda_function", "retrieve"): Scopes.VIEW,
    ("lambda_function", "call"): Scopes.CALL_ONLINE,
    ("lambda_request", "list"): Scopes.LIST_OFFLINE,
    ("lambda_request", "create"): Scopes.CALL_OFFLINE,
    ("lambda_request", "retrieve"): Scopes.CALL_OFFLINE,
    ("lambda_request", "destroy"): Scopes.CALL_OFFLINE,
    ("lambda_request", "retry"): Scopes.CALL_OFFLINE,
    ("lambda_request", "resume"): Scopes.CALL_OFFLINE,
    ("lambda_request", "undo"): Scopes.CALL_OFFLINE,
    ("lambda_request", "outcomes"): Scopes.CALL_OFFLINE,
    # Native functions: `cvat_lambda.agents.access` decides who may see and run one.
    **{
        ("native_function", action): Scopes.CALL_OFFLINE
        for action in (
            *("create", "retrieve", "destroy", "watch"),
            *("acquire", "update_entry", "complete", "fail"),
        )
    },
}


# By the action of a view of requests; the scopes of CVAT's package `lambda_requests`.
REQUEST_SCOPES: Final = {
    "list": "list",
    "create": "create",
    "retrieve": "view",
    "outcomes": "view",
    "destroy": "delete",
    "retry": "delete",
    "resume": "delete",
    "undo": "delete",
}


class LambdaPermission(OpenPolicyAgentPermission):  # type: ignore[misc]
    """CVAT's policy enforcer creates one for each HTTP request to the views of the lambda API."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        data_url: str = settings.IAM_OPA_DATA_URL  # type: ignore[misc]  # a setting of CVAT
        self.url = f"{data_url}/cvat_lambda/allow"

    def check_access(self) -> Any:
        """Send CVAT's question over a pooled connection. Raise PolicyUnavailable."""
        ask = policy.allows_call if self.scope == Scopes.CALL_ONLINE else policy.allows
        return PermissionResult(allow=ask(self))

    @classmethod
    def create(
        cls, request: Any, view: Any, obj: Any, iam_context: dict[str, Any]
    ) -> list[LambdaPermission]:
        if view.basename == "lambda_request" and compat.REQUEST_RULES is not None:
            cls = RequestPermission
        return [
            cls.create_base_perm(request, view, scope, iam_context, obj)
            for scope in cls.get_scopes(request, view, obj)
        ]

    @classmethod
    def _get_scopes(cls, request: Any, view: Any, obj: Any) -> list[str]:
        return [SCOPES[view.basename, view.action]]

    def get_resource(self) -> None:
        return None


class RequestPermission(LambdaPermission):
    """The permission of requests by CVAT's own rules, which exist since CVAT 2.72."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        data_url: str = settings.IAM_OPA_DATA_URL  # type: ignore[misc]  # a setting of CVAT
        self.url = f"{data_url}/lambda_requests/allow"

    @classmethod
    def _get_scopes(cls, request: Any, view: Any, obj: Any) -> list[str]:
        return [REQUEST_SCOPES[view.action]]

    def get_resource(self) -> Any:
        """Return the id and the owner of a request, as CVAT sends them; None for a list."""
        if self.scope == REQUEST_SCOPES["create"]:
            return {"id": None, "owner": {"id": self.user_id}}
        if self.obj is None:
            return None
        owner_id = Request.objects.filter(pk=self.obj).values_list("owner_id", flat=True).first()
        return {"id": self.obj, "owner": {"id": owner_id}}


def check_organization(request: Any) -> None:
    """Raise InvalidRequest for an ``org_id`` that is no number: CVAT would answer 500."""
    text = request.GET.get("org_id", "")
    if text and whole_number(text, INT_MAX) is None:
        raise InvalidRequest("org_id must be the number of an organization")


def may_use_console(request: Any, action: str, request_id: str | None) -> bool:
    """Return whether CVAT's rules allow an action of the API's requests, for a page."""
    check_organization(request)
    view = SimpleNamespace(basename="lambda_request", action=action)
    iam_context = get_iam_context(request, None)
    asked = LambdaPermission.create(request, view, request_id, iam_context)
    return all(permission.check_access().allow for permission in asked)
