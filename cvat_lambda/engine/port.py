"""The engine port: the interface to the owner of tasks, frames and annotations.

Frame numbers are relative to the task (0 .. size-1) everywhere. All data classes are frozen. The
setting ``CVAT_LAMBDA_ENGINE`` names the adapter class; `cvat_lambda.engine.get_engine` returns its
one instance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cvat_lambda.annotations.types import Label, LabeledData, Track
from cvat_lambda.errors import LambdaError

if TYPE_CHECKING:
    from rest_framework.request import Request as HttpRequest

JobType = Literal["annotation", "ground_truth", "consensus_replica"]
Action = Literal["view", "edit"]
AnnotationKind = Literal["shape", "tag", "track"]
RemovalPolicy = Literal["none", "all", "automatic", "ids"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A part of a task that one person annotates."""

    id: int
    task_id: int
    type: JobType = "annotation"
    frames: Sequence[int] = ()  # a range, or the frames of a ground-truth job, ascending
    organization_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The properties of a task that requests and calls need."""

    id: int
    name: str
    size: int  # frames
    dimension: Literal["2d", "3d"] = "2d"
    project_id: int | None = None
    organization_id: int | None = None
    labels: tuple[Label, ...] = ()
    deleted_frames: frozenset[int] = frozenset()
    validation_frames: frozenset[int] = frozenset()  # visible in ground-truth jobs only
    # Whether an annotation on a frame of several jobs is stored once, and not once for each job.
    stores_shared_frames_once: bool = False
    takes_tracks: bool = True  # False in CVAT for a task with honeypots
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One encoded image. ``data`` is the stored file, or an encoded frame of a video."""

    number: int
    data: bytes
    mime: str  # image/jpeg, image/png, ...
    name: str = ""
    width: int | None = None  # pixels as an annotator sees them (EXIF applied); None: not known
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """Properties of a frame that are known without reading it."""

    name: str
    width: int | None  # pixels as an annotator sees them; None: not known
    height: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFrame:
    """A frame that was looked up, but not read."""

    key: str  # as `Engine.frame_key` returns it
    read: Callable[[], Frame]  # without a lookup; raises FrameUnreadable, EngineUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """The facts of a task or job that a call needs, if the user may view it."""

    task_id: int
    job: Job | None = None  # the job of the call; None: the call is about the task
    frames: Mapping[int, KnownFrame] = field(default_factory=dict)  # those that were looked up
    labels_version: str | None = None  # changes with the task's labels; None: not known
    project_id: int | None = None  # of the task, if the engine reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableFrame:
    """A frame that could not be read; the stream continues with the next frame."""

    number: int
    error: LambdaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Which annotations a change removes.

    ``all`` and ``automatic`` (source ``auto``) remove shapes and tags on the frames of the change.
    ``ids`` removes exactly the named ones, also tracks, on whatever frame. Ids that do not exist
    are ignored.
    """

    policy: RemovalPolicy = "none"
    shape_ids: Collection[int] = ()
    tag_ids: Collection[int] = ()
    track_ids: Collection[int] = ()
    kept_shape_ids: Collection[int] = ()  # not removed by ``all`` and ``automatic``
    kept_tag_ids: Collection[int] = ()
    label_ids: Collection[int] | None = None  # only annotations of these labels; None: of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One atomic change of annotations: first remove, then add."""

    task_id: int
    job_id: int | None = None  # if set, only this job is read and written
    frames: tuple[int, ...] = ()
    remove: Removal = field(default_factory=Removal)
    add: LabeledData = field(default_factory=LabeledData)
    user_id: int | None = None  # the author of the change


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The ids of the added annotations, in the order of `Change.add`, and of the removed ones.

    A shape on a frame of overlapping jobs is stored once for each job, so it has several ids.
    """

    shape_ids: tuple[tuple[int, ...], ...] = ()
    tag_ids: tuple[tuple[int, ...], ...] = ()
    track_ids: tuple[tuple[int, ...], ...] = ()
    removed_shape_ids: tuple[int, ...] = ()  # without elements of skeletons
    removed_tag_ids: tuple[int, ...] = ()
    removed_track_ids: tuple[int, ...] = ()

    @property
    def removed(self) -> int:
        """The number of removed annotations."""
        return len(self.removed_shape_ids) + len(self.removed_tag_ids) + len(self.removed_track_ids)


class Access(Protocol):
    """The rights of the user of an HTTP request."""

    @property
    def user_id(self) -> int: ...

    def require_task(self, task_id: int, action: Action) -> None:
        """Raise TaskNotFound for a task that does not exist, PermissionDenied without the right."""

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound or PermissionDenied as `require_task` does."""

    def require_project(self, project_id: int, action: Action) -> None:
        """Raise ProjectNotFound or PermissionDenied as `require_task` does."""

    def visible_task_ids(self) -> Any:
        """Return ids of tasks that the user may view: a set, or a subquery for ``task_id__in``."""

    def visible_job_ids_without_task(self) -> Any:
        """Return ids of the jobs that the user may view but whose tasks the user may not view.

        The form is that of `visible_task_ids`.
        """

    def viewable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return those that the user may view, by few queries.

        `visible_task_ids` may return fewer: what a list shows, for example of one organization.
        """

    def viewable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return job ids as `viewable_task_ids` does."""

    def editable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Return those that exist and that the user may edit, by few queries."""

    def editable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """Return job ids as `editable_task_ids` does."""

    @property
    def sees_everything(self) -> bool:
        """Whether the user is an administrator."""

    @property
    def organization_id(self) -> int | None:
        """The organization in which the user works; None: in none."""

    def is_member(self, organization_id: int) -> bool:
        """Return whether the user is a member of an organization."""

    def job_meta(self, *, function_id: str, task_id: int, job_id: int | None) -> dict[str, Any]:
        """Return the meta of the RQ job, as the engine's server expects it."""


class Engine(Protocol):
    """Tasks, frames and annotations. Every method may be called from several threads."""

    def access(self, request: HttpRequest) -> Access: ...

    def call_facts(
        self, access: Access, *, task_id: int | None, job_id: int | None, frames: Collection[int]
    ) -> CallFacts:
        """Check that the user may view a job, or a task if ``job_id`` is None, for a call.

        The fewer queries the better. Raise TaskNotFound, JobNotFound, PermissionDenied.
        """

    def task(self, task_id: int) -> Task:
        """Return a task. Raise TaskNotFound."""

    def tasks(self, task_ids: Collection[int]) -> dict[int, Task]:
        """Return the tasks that exist, by id; the number of queries is constant."""

    def task_ids(self) -> Any:
        """Return ids of all tasks: a set, or a subquery for ``task_id__in``."""

    def job(self, job_id: int) -> Job:
        """Return a job. Raise JobNotFound."""

    def jobs(self, job_ids: Collection[int]) -> dict[int, Job]:
        """Return the jobs that exist, by id; the number of queries is constant."""

    def project_task_ids(self, project_id: int) -> list[int]:
        """Return the ids of a project's tasks. Raise ProjectNotFound."""

    def frame(self, task_id: int, number: int) -> Frame:
        """Return one frame.

        Raise FrameOutOfScope, FrameUnreadable, EngineUnavailable.
        """

    def frame_facts(self, task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
        """Return names and sizes of the existing frames by number, without decoding.

        Raise TaskNotFound.
        """

    def frame_key(self, task_id: int, number: int) -> str:
        """Return a key of the frame's content, which changes with the image, without reading it.

        Raise FrameOutOfScope.
        """

    def frames(
        self,
        task_id: int,
        numbers: Sequence[int],
        *,
        job_id: int | None = None,
        max_bmp_bytes: int = 0,
    ) -> Iterator[Frame | UnreadableFrame]:
        """Yield frames in the given ascending order; each chunk or video frame is decoded once.

        A frame that the engine encodes may be a BMP file if that has at most ``max_bmp_bytes``: it
        is larger than a PNG file, and encoded and decoded in a fraction of the time.
        One thread uses the iterator, and closes it with ``close()`` before it ends. Raise
        EngineUnavailable if the storage does not answer.
        """

    def annotations(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> LabeledData:
        """Return annotations with ids, and the tracks that have a keyframe on any of the frames."""

    def tracks(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> tuple[Track, ...]:
        """Return only the tracks of `annotations`."""

    def annotated_frames(self, task_id: int, *, job_id: int | None = None) -> set[int]:
        """Return the frames that have at least one shape, tag or visible track."""

    def existing_ids(self, kind: AnnotationKind, ids: Collection[int]) -> set[int]:
        """Return those of the ids that exist, in all tasks."""

    def last_track_id(self, task_id: int) -> int:
        """Return the highest id of a task's tracks, or 0. Later tracks have higher ids."""

    def atomic(self) -> AbstractContextManager[Any]:
        """Return the transaction that writes `apply` and the app's rows together."""

    def lock_annotations(
        self,
        task_id: int,
        *,
        shape_ids: Collection[int] = (),
        tag_ids: Collection[int] = (),
        track_ids: Collection[int] = (),
    ) -> LabeledData:
        """Lock annotations of a task until the end of `atomic`, and return them as stored now.

        Ids that do not exist are left out. Nobody else can change or delete the annotations until
        the transaction ends. Raise TaskNotFound.
        """

    def apply(self, change: Change) -> Written:
        """Carry out a change inside `atomic`. Raise InvalidRequest for a label of another task."""
