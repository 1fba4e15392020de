"""Cancel a live request."""

from __future__ import annotations

from cvat_lambda import signals
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.keep_tracks import keep_tracks
from cvat_lambda.requests.control.undo import remove_added
from cvat_lambda.requests.store import queue
from cvat_lambda.requests.store.models import Request, Status


def cancel_request(request: Request, *, undo: bool = False, user_id: int | None = None) -> Request:
    """Stop a request now, and with ``undo`` remove what it added.

    Without ``undo``, objects that were tracked so far become tracks. A request that has already
    ended is left as it is.
    """
    waiting = list(request.shards.filter(status=Status.QUEUED).values_list("rq_job_id", flat=True))
    if transitions.cancel(request.pk):
        queue.drop(waiting)
        signals.action_taken.send_robust(
            sender=Request,
            action="cancelled",
            object_kind="request",
            object_id=request.pk,
            details={"user_id": user_id},
        )
        if not undo:
            keep_tracks(request)
    if undo:
        remove_added(request.pk, user_id=user_id)
    request.refresh_from_db()
    return request
