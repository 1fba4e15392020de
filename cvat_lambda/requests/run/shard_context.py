"""What a worker knows of the shard that it runs: looked up once, when the run begins."""

from __future__ import annotations

from dataclasses import dataclass

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Engine, Task
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.requests.control.plan import skipped_frames
from cvat_lambda.requests.run.lease import Lease
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import FunctionVersion, Outcome, Request, Shard
from cvat_lambda.requests.store.params import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A claimed shard with everything that its work needs."""

    lease: Lease
    request: Request  # as it was when the run began
    shard: Shard
    params: Params
    spec: FunctionSpec
    version_id: int  # of the `FunctionVersion` that the spec is of
    engine: Engine
    task: Task
    skips: dict[int, str]  # frames of the shard to leave out, without an outcome yet: the reason
    frames: tuple[int, ...]  # frames of the shard to run, ascending

    @property
    def function_name(self) -> str:
        """How messages name the function."""
        return f"function {self.spec.id!r}"


def load(lease: Lease) -> Run:
    """Look everything up. Raise TaskNotFound, FunctionNotFound, FunctionSpecInvalid."""
    shard = Shard.objects.select_related("request").get(pk=lease.shard_id)
    request = shard.request
    engine = get_engine()
    task = engine.task(shard.task_id)
    spec = registry.get(request.function_id)
    params = Params.from_json(request.params)
    if params.replace != "none" and shard.last_track_id is None:
        _note_tracks(lease, engine.last_track_id(task.id))
    numbers = set(ranges.expand(shard.frames))
    settled = set(Outcome.objects.filter(shard=shard).values_list("frame", flat=True))
    open_frames = numbers - settled
    annotated: frozenset[int] = frozenset()
    if params.only_unannotated and open_frames:
        annotated = frozenset(engine.annotated_frames(task.id, job_id=shard.job_id))
    reasons = skipped_frames(task, own_layer=shard.own_layer, annotated=annotated)
    skips = {frame: reasons[frame] for frame in sorted(open_frames & reasons.keys())}
    return Run(
        lease=lease,
        request=request,
        shard=shard,
        params=params,
        spec=spec,
        version_id=_note_version(request, spec),
        engine=engine,
        task=task,
        skips=skips,
        frames=tuple(sorted(open_frames - skips.keys())),
    )


def _note_version(request: Request, spec: FunctionSpec) -> int:
    """Which version this run is of: the function may be deployed anew before a resume or retry."""
    Request.objects.filter(pk=request.pk).exclude(
        function_version=spec.version, function_revision=spec.revision
    ).update(function_version=spec.version, function_revision=spec.revision)
    found, _ = FunctionVersion.objects.get_or_create(
        function_id=spec.id, version=spec.version, revision=spec.revision
    )
    return int(found.pk)


def _note_tracks(lease: Lease, last_track_id: int) -> None:
    """Only tracks that are there now may ever make way for the shard's results."""
    mine = Shard.objects.filter(pk=lease.shard_id, lease=lease.token, last_track_id=None)
    mine.update(last_track_id=last_track_id)
