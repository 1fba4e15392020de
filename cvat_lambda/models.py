"""Django looks for an app's models here; each lives in the room that owns it."""

from cvat_lambda.functions.models import Function, PlatformCheck
from cvat_lambda.requests.store.models import Outcome, Provenance, Request, ScopeGuard, Shard

__all__ = [
    "Function",
    "Outcome",
    "PlatformCheck",
    "Provenance",
    "Request",
    "ScopeGuard",
    "Shard",
]
