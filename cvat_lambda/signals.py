"""The Django signals of the app. Logs, metrics, the audit log and webhooks are receivers.

Every signal is sent with keyword arguments only; ``sender`` is the class or module that sends.
"""

from __future__ import annotations

from django.dispatch import Signal

# request: the Request row (status already stored)
request_created = Signal()
request_started = Signal()
request_finished = Signal()  # finished, failed or cancelled: see request.status

# request_id: str, task_id: int, frames: tuple[int, ...], counts: dict[str, int] (frames by their
# outcome: done, failed, skipped), shapes: int — a batch was committed
frames_written = Signal()

# request_id: str, task_id: int, frame: int, code: str, message: str, attempts: int
frame_failed = Signal()

# function_id: str, kind: str, task_id: int, job_id: int | None, project_id: int | None (of the
# task, if the engine reads it for a call), duration_s: float, error: LambdaError | None,
# http_request — a call for a person who waits
function_called = Signal()

# error: Exception, context: dict[str, Any] (REST framework's) — an unexpected error of a view
view_failed = Signal()

# function_id: str, duration_s: float, error: LambdaError | None — one HTTP invocation, any purpose
function_invoked = Signal()

# function_id: str, before: str, after: str — the state of a function changed in the registry
function_state_changed = Signal()

# action: str, object_kind: str, object_id: object, details: dict[str, Any] — somebody deleted,
# undid, deployed or changed something; the audit log names the user of the request in progress
action_taken = Signal()
