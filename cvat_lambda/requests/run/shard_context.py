"""Everything that a worker needs to run a claimed shard, loaded when the run begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cvat_lambda.conf import settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Engine, Frame, Task, UnreadableFrame
from cvat_lambda.errors import FunctionError
from cvat_lambda.functions import registry
from cvat_lambda.functions.prompts import map_labels
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.images.encode import BMP
from cvat_lambda.images.resize import max_image_bytes
from cvat_lambda.requests.run.lease import Lease
from cvat_lambda.requests.run.results import Version
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import Outcome, Request, Shard
from cvat_lambda.requests.store.params import Params

MAX_BMP_BYTES: Final = 8 * 2**20  # of a frame of 2.8 megapixels; frames wait in memory


class FunctionRedeployed(FunctionError):
    """The function was deployed again while the request ran."""

    code = "function_redeployed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRun:
    """A claimed shard, its request, function, task and frames."""

    lease: Lease
    request: Request  # as it was when the run began
    shard: Shard
    params: Params
    spec: FunctionSpec  # as the registry had it when the run began
    engine: Engine
    task: Task
    skips: dict[int, str]  # frame without an outcome that is not run: the reason
    frames: tuple[int, ...]  # frames without an outcome that are run, ascending
    cancel: CancelToken = field(default_factory=CancelToken)  # of all its invocations

    @property
    def function_name(self) -> str:
        """The function as error messages name it."""
        return f"function {self.spec.id!r}"

    def check_version(self, version: Version) -> None:
        """Raise FunctionRedeployed if the request stops at another version of the function."""
        request = self.request
        first = Version(request.function_version, request.function_revision)
        if self.params.on_redeploy != "stop" or version == first:
            return
        raise FunctionRedeployed(
            f"{self.function_name} was deployed again while the request ran: "
            "retry the request to run the other frames with the new version"
        )

    def read(self, numbers: Sequence[int]) -> Iterator[Frame | UnreadableFrame]:
        """Yield frames in the given ascending order, for agents without their images.

        Agents read the images themselves. Raise EngineUnavailable.
        """
        if not self.spec.is_native:
            return self.engine.frames(
                self.task.id,
                numbers,
                job_id=self.shard.job_id,
                max_bmp_bytes=max_bmp_bytes(self.spec),
            )
        return self._without_images(numbers)

    def _without_images(self, numbers: Sequence[int]) -> Iterator[Frame]:
        facts = self.engine.frame_facts(self.task.id, numbers)
        for number in numbers:
            known = facts.get(number)
            yield Frame(
                number=number,
                data=b"",
                mime="",
                name="" if known is None else known.name,
                width=None if known is None else known.width,
                height=None if known is None else known.height,
            )

    @property
    def replaced_label_ids(self) -> frozenset[int] | None:
        """The labels of the task whose annotations are replaced; None: those of all labels."""
        return replaced_label_ids(self.spec, self.params, self.task)

    @property
    def last_frame(self) -> int:
        """The last frame of the shard's job or task: a track without an end lasts until there."""
        jobs = [job for job in self.task.jobs if self.shard.job_id in (None, job.id)]
        return max((job.frames[-1] for job in jobs if job.frames), default=self.task.size - 1)

    def frame_after(self, frame: int) -> int | None:
        """Return the frame on which a track that ends on ``frame`` is closed; None at the end.

        It is not a deleted one: CVAT ignores the keyframes of deleted frames.
        """
        following = range(frame + 1, self.last_frame + 1)
        return next((n for n in following if n not in self.task.deleted_frames), None)

    @property
    def mutable_attribute_ids(self) -> frozenset[int]:
        """Spec ids of the attributes that may change along a track."""
        return frozenset(
            attribute.id
            for label in self.task.labels
            for attribute in label.attributes
            if attribute.mutable and attribute.id is not None
        )


def max_bmp_bytes(spec: FunctionSpec) -> int:
    """Return the size of the largest BMP file to send a function; 0: it takes none as bytes."""
    if spec.binary and BMP in spec.accepts:
        return min(MAX_BMP_BYTES, max_image_bytes(spec))
    return 0


def max_call_bytes(spec: FunctionSpec) -> int:
    """Return how many bytes of images a call of several frames may have.

    While the function works on them, the images of the next calls wait in memory.
    """
    fits = spec.max_body_bytes * 3 // 4 - 4096  # base64 grows by a third
    return min(fits, settings.READ_AHEAD_BYTES // 2)


def replaced_label_ids(spec: FunctionSpec, params: Params, task: Task) -> frozenset[int] | None:
    """Return the labels of a task whose annotations a request replaces; None: all.

    Without ``replace_labels``, the policy "function" of a request that finds only some things
    replaces only annotations of the labels that it finds: it cannot find the others again.
    """
    if params.replace_labels is not None:
        names = set(params.replace_labels)
        return frozenset(label.id for label in task.labels if label.name in names and label.id)
    if params.replace != "function" or not params.prompts:
        return None
    found = map_labels(spec, params.prompts, params.mapping, task.labels)
    return frozenset(mapped.label_id for mapped in found.by_name.values())


def load_run(lease: Lease, cancel: CancelToken | None = None) -> ShardRun:
    """Read everything; write nothing. Raise TaskNotFound, FunctionNotFound, FunctionSpecInvalid."""
    shard = Shard.objects.select_related("request").get(pk=lease.shard_id)
    request = shard.request
    engine = get_engine()
    task = engine.task(shard.task_id)
    spec = registry.get(request.function_id)
    params = Params.from_json(request.params)
    numbers = set(ranges.expand(shard.frames))
    settled = set(Outcome.objects.filter(shard=shard).values_list("frame", flat=True))
    open_frames = numbers - settled
    annotated: frozenset[int] = frozenset()
    if params.only_unannotated and open_frames:
        annotated = frozenset(engine.annotated_frames(task.id, job_id=shard.job_id))
    reasons = skipped_frames(task, annotated=annotated)
    skips = {frame: reasons[frame] for frame in sorted(open_frames & reasons.keys())}
    return ShardRun(
        lease=lease,
        request=request,
        shard=shard,
        params=params,
        spec=spec,
        engine=engine,
        task=task,
        skips=skips,
        frames=tuple(sorted(open_frames - skips.keys())),
        cancel=cancel or CancelToken(),
    )


def skipped_frames(task: Task, *, annotated: frozenset[int]) -> dict[int, str]:
    """Return the frames that are not run, each with its reason: deleted or annotated."""
    reasons = dict.fromkeys(annotated, "annotated")
    reasons.update(dict.fromkeys(task.deleted_frames, "deleted"))
    return reasons


def record_newest_track(run: ShardRun) -> None:
    """Store the task's newest track when a shard first runs: later ones are never replaced."""
    if run.params.replace == "none" or run.shard.last_track_id is not None:
        return
    held = Shard.objects.filter(pk=run.shard.pk, lease=run.lease.token, last_track_id=None)
    held.update(last_track_id=run.engine.last_track_id(run.task.id))
