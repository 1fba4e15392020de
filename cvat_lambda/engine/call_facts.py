"""`Engine.call_facts` made of other methods of the port."""

from __future__ import annotations

from cvat_lambda.engine.port import Access, CallFacts, Engine


def read(engine: Engine, access: Access, *, task_id: int | None, job_id: int | None) -> CallFacts:
    """Check the user's right to view a job or a task, and read the job.

    Raise TaskNotFound, JobNotFound, PermissionDenied.
    """
    if job_id is not None:
        access.require_job(job_id, "view")
        job = engine.job(job_id)
        return CallFacts(task_id=job.task_id, job=job)
    assert task_id is not None
    access.require_task(task_id, "view")
    return CallFacts(task_id=task_id)
