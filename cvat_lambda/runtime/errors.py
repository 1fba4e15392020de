"""The errors of the runtime.

RuntimeFault
├── BadRequest            400  the caller sent something that cannot be understood
├── NotFound              404  no such function, project or replica
├── Conflict              409  the name is taken
├── PreconditionFailed    412  the state of the function or project does not allow the request
├── FunctionBroken        422  the function's author must correct its file, code or answer
├── NotPrepared           503  the function's environment or weights could not be prepared
├── NotStarted            503  the function's processes did not become ready
└── Cancelled             503  the work was cancelled: runtime or function is being stopped
"""

from __future__ import annotations


class RuntimeFault(Exception):
    """The runtime could not do what was asked."""

    status_code = 500
    transient = False  # whether another attempt may succeed without a change


class BadRequest(RuntimeFault):
    """The request cannot be understood."""

    status_code = 400


class NotFound(RuntimeFault):
    """No function, project or replica has that name."""

    status_code = 404


class Conflict(RuntimeFault):
    """The name is taken already."""

    status_code = 409


class PreconditionFailed(RuntimeFault):
    """The function is in a state that does not allow this."""

    status_code = 412


class FunctionBroken(RuntimeFault):
    """The function's folder has a fault that its author must correct."""

    status_code = 422


class NotPrepared(RuntimeFault):
    """The function's environment or weights could not be prepared."""

    status_code = 503

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class NotStarted(RuntimeFault):
    """The function's processes did not become ready."""

    status_code = 503

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Cancelled(RuntimeFault):
    """The work was cancelled: the runtime stops, or the function was removed."""

    status_code = 503

    def __init__(self) -> None:
        super().__init__("the work was cancelled: the runtime stops, or the function was removed")
