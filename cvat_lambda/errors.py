"""Everything that can go wrong, as one tree.

::

    LambdaError
    ├── CallerError                 the caller is wrong; the same call will fail again
    │   ├── InvalidRequest          400  a field, a mapping, a threshold
    │   │   ├── InvalidMapping      400  a label or attribute that does not exist
    │   │   ├── InvalidTrackerState 400  tampered with, too old, someone else's
    │   │   └── FrameOutOfScope     400  the frame is not of the task or job
    │   ├── PermissionDenied        403
    │   ├── NotFound                404  unknown, or not for this user to see
    │   │   ├── FunctionNotFound    404
    │   │   ├── RequestNotFound     404
    │   │   └── TargetNotFound      404  unknown; 400 where the body of an HTTP request names it
    │   │       ├── TaskNotFound
    │   │       ├── JobNotFound
    │   │       └── ProjectNotFound
    │   ├── PayloadTooLarge         413  more bytes than the function takes
    │   ├── TooManyCalls            429  the user has too many calls in progress
    │   └── TooManyLogins           429  too many failed logins
    ├── StateConflict               409  right call, wrong moment
    │   └── ScopeOverlap            409  another request works on the same frames
    ├── FunctionError               the function's author is wrong; retrying does not help
    │   ├── FunctionSpecInvalid     502  its metadata cannot be used
    │   ├── FunctionFailed          502  its handler raised
    │   ├── FunctionAnswerInvalid   502  it answered something else than its contract
    │   └── FunctionRejected        4xx  it refused the input with a sentence of its own
    │       ├── FunctionStateUnknown 410 it does not have the tracker state of a handle any more
    │       └── EmbeddingUnknown    410  it does not have the embedding of a key
    ├── PlatformError               nobody is wrong; retrying may help
    │   ├── PlatformUnreachable     503  no connection to the platform or the function
    │   ├── FunctionUnavailable     503  building, stopped, away
    │   ├── FunctionBusy            503  all workers busy
    │   ├── ServerBusy              503  the server has too many calls in progress
    │   ├── FunctionCrashed         502  its process died under this call
    │   └── FunctionTimeout         504  no answer in time
    └── EngineError
        ├── FrameUnreadable         422  the frame's data do not decode
        ├── EngineUnavailable       503  the engine or its storage does not answer
        └── DiskFull                507  the server has no space for an upload

``code`` is for machines, the message is one sentence for people, ``permanent`` says that a
retry of the same thing cannot succeed. Addresses and traces belong in the log, never in a message.
"""

from __future__ import annotations

import errno
import inspect
from typing import Any, ClassVar


class LambdaError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    status_code: int = 500
    permanent: bool = True
    retry_after_s: int | None = None  # sent as the header Retry-After

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message if message is not None else inspect.cleandoc(self.__doc__ or "")
        self.details: dict[str, Any] = details  # JSON values only; shown to the caller
        super().__init__(self.message)

    def to_json(self) -> dict[str, Any]:
        """Return the error as the API answers it: code, sentence, details."""
        return {"code": self.code, "message": self.message, **self.details}


class CallerError(LambdaError):
    """The call is wrong."""

    code = "caller_error"
    status_code = 400


class InvalidRequest(CallerError):
    """The request is invalid."""

    code = "invalid_request"


class InvalidMapping(InvalidRequest):
    """The label mapping does not fit the function and the task."""

    code = "invalid_mapping"


class InvalidTrackerState(InvalidRequest):
    """Invalid or expired tracker state for this user, task and function. Start the track again."""

    code = "invalid_tracker_state"


class FrameOutOfScope(InvalidRequest):
    """The frame does not belong to the task or job."""

    code = "frame_out_of_scope"


class PermissionDenied(CallerError):
    """You do not have permission to do this."""

    code = "permission_denied"
    status_code = 403


class NotFound(CallerError):
    """Not found."""

    code = "not_found"
    status_code = 404


class FunctionNotFound(NotFound):
    """The function was not found."""

    code = "function_not_found"


class RequestNotFound(NotFound):
    """The request was not found."""

    code = "request_not_found"


class TargetNotFound(NotFound):
    """The tasks were not found."""

    code = "target_not_found"


class TaskNotFound(TargetNotFound):
    """The task was not found."""

    code = "task_not_found"


class JobNotFound(TargetNotFound):
    """The job was not found."""

    code = "job_not_found"


class ProjectNotFound(TargetNotFound):
    """The project was not found."""

    code = "project_not_found"


class PayloadTooLarge(CallerError):
    """The image is larger than the function takes."""

    code = "payload_too_large"
    status_code = 413


class TooManyCalls(CallerError):
    """You have too many calls in progress."""

    code = "too_many_calls"
    status_code = 429
    permanent = False
    retry_after_s = 1


class TooManyLogins(CallerError):
    """There were too many failed logins. Try again in 15 minutes."""

    code = "too_many_logins"
    status_code = 429
    permanent = False
    retry_after_s = 900


class StateConflict(LambdaError):
    """This cannot be done in the present state."""

    code = "state_conflict"
    status_code = 409


class ScopeOverlap(StateConflict):
    """Another request is working on the same frames."""

    code = "scope_overlap"


class FunctionError(LambdaError):
    """The function is wrong."""

    code = "function_error"
    status_code = 502


class FunctionSpecInvalid(FunctionError):
    """The function's metadata cannot be used."""

    code = "function_spec_invalid"


class FunctionFailed(FunctionError):
    """The function raised an error."""

    code = "function_failed"


class FunctionAnswerInvalid(FunctionError):
    """The function's answer does not follow its contract."""

    code = "function_answer_invalid"


class FunctionRejected(FunctionError):
    """The function refused the input."""

    code = "function_rejected"
    status_code = 400


class FunctionStateUnknown(FunctionRejected):
    """The function does not have the state of a tracked object any more."""

    code = "state_unknown"
    status_code = 410


class EmbeddingUnknown(FunctionRejected):
    """The function does not have the embedding of a key, and needs the embedding itself."""

    code = "embedding_unknown"
    status_code = 410


class PlatformError(LambdaError):
    """The function cannot be reached now."""

    code = "platform_error"
    status_code = 503
    permanent = False


class PlatformUnreachable(PlatformError):
    """The function platform does not answer."""

    code = "platform_unreachable"


class FunctionUnavailable(PlatformError):
    """The function is not ready."""

    code = "function_unavailable"


class FunctionBusy(PlatformError):
    """All workers of the function are busy."""

    code = "function_busy"
    retry_after_s = 2


class ServerBusy(PlatformError):
    """The server has too many calls in progress."""

    code = "server_busy"
    retry_after_s = 2


class FunctionCrashed(PlatformError):
    """The function's process died while it worked on this input."""

    code = "function_crashed"
    status_code = 502


class FunctionTimeout(PlatformError):
    """The function did not answer in time."""

    code = "function_timeout"
    status_code = 504


class EngineError(LambdaError):
    """The task's data cannot be used."""

    code = "engine_error"


class FrameUnreadable(EngineError):
    """The frame's data cannot be read as an image."""

    code = "frame_unreadable"
    status_code = 422


class EngineUnavailable(EngineError):
    """The frame storage does not answer now."""

    code = "engine_unavailable"
    status_code = 503
    permanent = False


class DiskFull(EngineError):
    """The server's disk is full. Its administrator must free space."""

    code = "disk_full"
    status_code = 507
    permanent = False


def is_disk_full(exc: BaseException) -> bool:
    """Return whether an error of a file or of the database says that the disk is full."""
    if isinstance(exc, OSError):
        return exc.errno in (errno.ENOSPC, errno.EDQUOT)
    text = str(exc).lower()  # of SQLite and of PostgreSQL
    return "database or disk is full" in text or "no space left on device" in text
