"""The app's background requests in CVAT's list of requests (``/api/requests``).

CVAT reads that list from RQ. A request of this app is a row of the database and may run as several
RQ jobs. `RequestAsRqJob` presents it as one RQ job, with the members that CVAT's view reads.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

import attrs
from cvat.apps.engine.rq import RequestIdWithOptionalFormat
from cvat.apps.redis_handler.rq import RequestIdWithOptionalSubresource
from cvat.apps.redis_handler.serializers import RequestSerializer as CvatRequestSerializer
from cvat.apps.redis_handler.views import RequestViewSet as CvatRequestViewSet

from cvat_lambda.engine.cvat.access import CvatAccess
from cvat_lambda.models import Request
from cvat_lambda.requests.control.access import may_view
from cvat_lambda.requests.control.cancel import cancel_request

MAX_LISTED: Final = 200  # of a user, the newest
HIDDEN_STATUS: Final = "cancelled"  # CVAT has no such status and deletes cancelled requests


@attrs.frozen(kw_only=True, slots=False)  # as all of CVAT's are
class ParsedId(RequestIdWithOptionalSubresource, RequestIdWithOptionalFormat):  # type: ignore[misc]
    """The id of an RQ job in parts. CVAT's filters read each of its members from every row."""


class RequestAsRqJob:
    """A request of this app with the members of an RQ job that CVAT reads."""

    def __init__(self, request: Any, *, user_id: int | None = None) -> None:
        self.request = request
        self._user_id = user_id  # of who cancels it
        self.id: str = request.pk
        self.created_at = _naive(request.created_at)
        self.started_at = _naive(request.started_at)
        self.ended_at = _naive(request.ended_at)
        self.exc_info: str = request.error_message
        self.is_finished: bool = request.status == "finished"
        self.is_failed: bool = request.status == "failed"
        self.meta: dict[str, Any] = {
            **request.meta,
            "function_id": request.function_id,
            "project_id": request.project_id or request.meta.get("project_id"),
            "task_id": request.task_id,
            "job_id": request.job_id,
            "progress": _progress(request),
            "status": f"{request.done + request.failed} of {request.total} frames",
            "formatted_exception": request.error_message or None,
        }
        self.parsed_id = _parsed_id(request)

    def get_status(self, refresh: bool = True) -> str:
        """Return the status. The app and CVAT use the same words."""
        return str(self.request.status)

    def return_value(self, refresh: bool = False) -> None:
        """None, because the result of a request is annotations."""

    def cancel(self, **_: Any) -> None:
        """Cancel the request."""
        cancel_request(self.request, user_id=self._user_id)

    def delete(self, **_: Any) -> None:
        """Do nothing. CVAT deletes a cancelled RQ job; the row of a request is kept."""


class RequestSerializer(CvatRequestSerializer):  # type: ignore[misc]
    """CVAT's serializer, with the failed frames of a request of this app."""

    def get_message(self, rq_job: Any) -> str:
        """Tell how many frames failed. CVAT's page has no other place for it."""
        if isinstance(rq_job, RequestAsRqJob) and rq_job.is_finished:
            request = rq_job.request
            if request.failed:
                return f"Finished, but {request.failed} of {request.total} frames failed"
        return str(super().get_message(rq_job))

    def get_expiry_date(self, rq_job: Any) -> Any:
        """Return None for a request of this app: its row does not expire."""
        if isinstance(rq_job, RequestAsRqJob):
            return None
        return super().get_expiry_date(rq_job)


class RequestViewSet(CvatRequestViewSet):  # type: ignore[misc]
    """CVAT's view of background requests, with those of this app."""

    serializer_class = RequestSerializer

    def _get_rq_jobs(self, user_id: int) -> list[Any]:
        mine = _requests().filter(owner_id=user_id).order_by("-created_at")[:MAX_LISTED]
        return [*super()._get_rq_jobs(user_id), *(RequestAsRqJob(row) for row in mine)]

    def _get_rq_job_by_id(self, rq_id: str) -> Any:
        row = _requests().filter(pk=rq_id).first()
        if row is None:
            return super()._get_rq_job_by_id(rq_id)
        # CVAT checks the one task, job or project that the id names. A request over several tasks
        # is checked here.
        if row.task_id is None and row.project_id is None and not self._may_view(row):
            return None
        return RequestAsRqJob(row, user_id=self.request.user.pk)

    def _may_view(self, row: Any) -> bool:
        return bool(may_view(CvatAccess(self.request), row))


def _requests() -> Any:
    return Request.objects.exclude(status=HIDDEN_STATUS).filter(meta__has_key="user")


def _naive(moment: datetime | None) -> datetime | None:
    """Return the time in UTC without a time zone, as RQ has it. CVAT sorts both together."""
    return moment if moment is None else moment.astimezone(timezone.utc).replace(tzinfo=None)


def _progress(request: Any) -> float:
    if not request.total:
        return 0.0
    handled: int = request.done + request.failed + request.skipped
    total: int = request.total
    return min(1.0, handled / total)


def _parsed_id(request: Any) -> Any:
    """Return the target of a request. Of several tasks it is the first, which CVAT then checks."""
    if request.job_id is not None:
        target, target_id = "job", request.job_id
    elif request.task_id is not None:
        target, target_id = "task", request.task_id
    elif request.project_id is not None:
        target, target_id = "project", request.project_id
    else:
        target, target_id = "task", request.meta["task_id"]
    made: dict[str, Any] = {"action": "autoannotate", "target": target, "target_id": target_id}
    return ParsedId(**made)
