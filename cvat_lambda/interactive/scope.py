"""The task or job of a call, and its frames."""

from __future__ import annotations

from dataclasses import dataclass

from cvat_lambda.annotations.types import Label
from cvat_lambda.engine.port import Access, CallFacts, Engine, Frame
from cvat_lambda.errors import FrameOutOfScope, InvalidRequest
from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.params import CallParams


@dataclass(frozen=True, slots=True, kw_only=True)
class CallScope:
    """The task or job of a call. The user may view it."""

    engine: Engine
    facts: CallFacts

    @classmethod
    def resolve(cls, engine: Engine, access: Access, params: CallParams) -> CallScope:
        """Return the task and job of a call.

        Raise InvalidRequest, TaskNotFound, JobNotFound or PermissionDenied.
        """
        task_id, job_id = params.task_id, params.job_id
        if task_id is None and job_id is None:
            raise InvalidRequest("A call needs 'task' or 'job'.")
        facts = engine.call_facts(access, task_id=task_id, job_id=job_id, frames=params.frames)
        if task_id is not None and task_id != facts.task_id:
            raise InvalidRequest(
                f"Job {job_id} does not belong to task {task_id}: give the job only, or its task."
            )
        return cls(engine=engine, facts=facts)

    @property
    def task_id(self) -> int:
        """The id of the task."""
        return self.facts.task_id

    @property
    def job_id(self) -> int | None:
        """The id of the job; None for a call about the task."""
        return None if self.facts.job is None else self.facts.job.id

    def labels(self) -> tuple[Label, ...]:
        """Return the labels of the task. They are kept until their version changes."""
        version = self.facts.labels_version
        if version is None:
            return self.engine.task(self.task_id).labels
        kept, key = get_caches().labels, f"{self.task_id} {version}"
        found = kept.get(key)
        if found is None:
            found = self.engine.task(self.task_id).labels
            kept.put(key, found)
        return found

    def frame_key(self, number: int) -> str:
        """Return the content key of a frame.

        Raise FrameOutOfScope if the frame is not in the task and the job.
        """
        job = self.facts.job
        if job is not None and number not in job.frames:
            raise FrameOutOfScope(
                f"Frame {number} is outside the range of job {job.id}.", frame=number
            )
        known = self.facts.frames.get(number)
        if known is not None:
            return known.key
        try:
            return self.engine.frame_key(self.task_id, number)
        except FrameOutOfScope as exc:
            raise self._out_of_task(number) from exc

    def read_frame(self, number: int) -> Frame:
        """Read a frame. Raise FrameOutOfScope, FrameUnreadable or EngineUnavailable."""
        known = self.facts.frames.get(number)
        return self.engine.frame(self.task_id, number) if known is None else known.read()

    def _out_of_task(self, number: int) -> FrameOutOfScope:
        size = self.engine.task(self.task_id).size
        if size == 0:
            return FrameOutOfScope(f"Task {self.task_id} has no frames.", frame=number)
        return FrameOutOfScope(
            f"Frame {number} is not in task {self.task_id}: its frames are 0 to {size - 1}.",
            frame=number,
        )
