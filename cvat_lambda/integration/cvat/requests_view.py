"""Our requests in CVAT's list of background requests (``/api/requests``).

CVAT reads that list from RQ. A request of ours may be many RQ jobs, and lives in the database;
so each is shown as one job, with the members that CVAT's view and serializer read.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

import attrs
from cvat.apps.engine.rq import RequestIdWithOptionalFormat
from cvat.apps.redis_handler.rq import RequestIdWithOptionalSubresource
from cvat.apps.redis_handler.serializers import RequestSerializer as CvatRequestSerializer
from cvat.apps.redis_handler.views import RequestViewSet as CvatRequestViewSet
from django.apps import apps
from django.utils.module_loading import import_string

from cvat_lambda.engine.cvat.access import CvatAccess

LISTED: Final = 200  # of a person, the newest
NOT_SHOWN: Final = "cancelled"  # CVAT knows no such state, and forgets what was cancelled


@attrs.frozen(kw_only=True, slots=False)  # as all of CVAT's are
class ParsedId(RequestIdWithOptionalSubresource, RequestIdWithOptionalFormat):  # type: ignore[misc]
    """What CVAT tells from the id of a job; all rows of its list are asked for each member."""


class RequestAsRqJob:
    """A request of ours as CVAT reads an RQ job."""

    def __init__(self, request: Any) -> None:
        self.request = request
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
        """The state; ours and CVAT's words agree."""
        return str(self.request.status)

    def return_value(self, refresh: bool = False) -> None:
        """Nothing: the annotations are the result."""

    def cancel(self, **_: Any) -> None:
        """Stop the request."""
        import_string("cvat_lambda.requests.control.cancel.cancel_request")(self.request)

    def delete(self, **_: Any) -> None:
        """CVAT forgets what was cancelled; we keep it, and do not show it there."""


class RequestSerializer(CvatRequestSerializer):  # type: ignore[misc]
    """As CVAT shows a request; of ours also what CVAT has no words for."""

    def get_message(self, rq_job: Any) -> str:
        """That frames failed, too, where the request did not: CVAT's page says it nowhere else."""
        if isinstance(rq_job, RequestAsRqJob) and rq_job.is_finished:
            request = rq_job.request
            if request.failed:
                return f"Finished, but {request.failed} of {request.total} frames failed"
        return str(super().get_message(rq_job))

    def get_expiry_date(self, rq_job: Any) -> Any:
        """None of ours: they do not vanish with RQ's results, and the page shows their end."""
        if isinstance(rq_job, RequestAsRqJob):
            return None
        return super().get_expiry_date(rq_job)


class RequestViewSet(CvatRequestViewSet):  # type: ignore[misc]
    """CVAT's view of background requests, in which ours are too."""

    serializer_class = RequestSerializer

    def _get_rq_jobs(self, user_id: int) -> list[Any]:
        mine = _requests().filter(owner_id=user_id).order_by("-created_at")[:LISTED]
        return [*super()._get_rq_jobs(user_id), *(RequestAsRqJob(row) for row in mine)]

    def _get_rq_job_by_id(self, rq_id: str) -> Any:
        row = _requests().filter(pk=rq_id).first()
        if row is None:
            return super()._get_rq_job_by_id(rq_id)
        # CVAT asks whether one task, job or project may be seen; who sees all of several is ours.
        if row.task_id is None and row.project_id is None and not self._shows(row):
            return None
        return RequestAsRqJob(row)

    def _shows(self, row: Any) -> bool:
        viewable = import_string("cvat_lambda.requests.control.find.may_view")
        return bool(viewable(CvatAccess(self.request), row))


def _requests() -> Any:
    rows = apps.get_model("cvat_lambda", "Request")._default_manager
    return rows.exclude(status=NOT_SHOWN).filter(meta__has_key="user")


def _naive(moment: datetime | None) -> datetime | None:
    """In UTC without saying so, as RQ has it, so that both can be sorted together."""
    return moment if moment is None else moment.astimezone(timezone.utc).replace(tzinfo=None)


def _progress(request: Any) -> float:
    if not request.total:
        return 0.0
    handled: int = request.done + request.failed + request.skipped
    total: int = request.total
    return min(1.0, handled / total)


def _parsed_id(request: Any) -> Any:
    """What a request is about; of several tasks the first, whose sight the request then needs."""
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
