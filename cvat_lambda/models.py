"""Django looks for an app's models here; each lives in the room that owns it."""

from cvat_lambda.agents.models import Agent, NativeFunction, QueueEntry
from cvat_lambda.functions.models import Function, PlatformCheck
from cvat_lambda.requests.store.models import Outcome, Provenance, Request, ScopeGuard, Shard

__all__ = [
    "Agent",
    "Function",
    "NativeFunction",
    "Outcome",
    "PlatformCheck",
    "Provenance",
    "QueueEntry",
    "Request",
    "ScopeGuard",
    "Shard",
]
