"""The engine port: what this app asks of whoever owns tasks, frames and annotations.

Frame numbers are relative to the task (0 .. size-1) everywhere. All data classes are frozen. The
setting ``CVAT_LAMBDA_ENGINE`` names the adapter class; `cvat_lambda.engine.get_engine` returns its
one instance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
    """A piece of a task that one person annotates."""

    id: int
    task_id: int
    type: JobType = "annotation"
    frames: Sequence[int] = ()  # a range, or the frames of a ground-truth job, ascending
    organization_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a request or a call must know of a task."""

    id: int
    name: str
    size: int  # frames
    dimension: Literal["2d", "3d"] = "2d"
    project_id: int | None = None
    organization_id: int | None = None
    labels: tuple[Label, ...] = ()
    deleted_frames: frozenset[int] = frozenset()
    validation_frames: frozenset[int] = frozenset()  # only of ground-truth jobs (a gt_pool's tail)
    takes_tracks: bool = True  # CVAT keeps none in a task with honeypots
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One encoded image. ``data`` is a file as it is stored or was encoded from a video."""

    number: int
    data: bytes
    mime: str  # image/jpeg, image/png, ...
    name: str = ""
    width: int | None = None  # pixels as an annotator sees them (EXIF applied); None: not known
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What is known of a frame without reading it."""

    name: str
    width: int | None  # pixels as an annotator sees them; None: not known
    height: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableFrame:
    """A frame of the stream that could not be read; the stream goes on behind it."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One atomic change of annotations: on these frames remove, then add."""

    task_id: int
    job_id: int | None = None  # set: read and write this job alone
    frames: tuple[int, ...] = ()
    remove: Removal = field(default_factory=Removal)
    add: LabeledData = field(default_factory=LabeledData)
    user_id: int | None = None  # in whose name


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The ids that a change made, in the order of what it added, and those that it removed.

    A shape on a frame of overlapping jobs is stored once a job, hence tuples of ids.
    """

    shape_ids: tuple[tuple[int, ...], ...] = ()
    tag_ids: tuple[tuple[int, ...], ...] = ()
    track_ids: tuple[tuple[int, ...], ...] = ()
    removed_shape_ids: tuple[int, ...] = ()  # without the elements of skeletons
    removed_tag_ids: tuple[int, ...] = ()
    removed_track_ids: tuple[int, ...] = ()

    @property
    def removed(self) -> int:
        """How many annotations went."""
        return len(self.removed_shape_ids) + len(self.removed_tag_ids) + len(self.removed_track_ids)


class Access(Protocol):
    """What the user behind an HTTP request may do; unknown and forbidden look alike (404)."""

    @property
    def user_id(self) -> int: ...

    def require_task(self, task_id: int, action: Action) -> None:
        """Raise TaskNotFound if unknown or not to be seen, PermissionDenied if only seen."""

    def require_job(self, job_id: int, action: Action) -> None:
        """Raise JobNotFound or PermissionDenied, as `require_task`."""

    def require_project(self, project_id: int, action: Action) -> None:
        """Raise NotFound or PermissionDenied, as `require_task`."""

    def visible_task_ids(self) -> Any:
        """Ids of the tasks that the user may see: a set or a subquery for ``task_id__in``."""

    def visible_job_ids(self) -> Any:
        """As `visible_task_ids`, of jobs: a host may show people a job and not its task."""

    def viewable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Those that the user may see, each judged for itself, in few questions.

        `visible_task_ids` is what a list shows, which may be less: of one organization, say.
        """

    def viewable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """As `viewable_task_ids`."""

    def editable_task_ids(self, task_ids: Collection[int]) -> set[int]:
        """Those that the user may edit, in few questions; others and unknown ones are left out."""

    def editable_job_ids(self, job_ids: Collection[int]) -> set[int]:
        """As `editable_task_ids`."""

    @property
    def sees_everything(self) -> bool:
        """Whether the user is an administrator of the host."""

    def job_meta(self, *, function_id: str, task_id: int, job_id: int | None) -> dict[str, Any]:
        """JSON for the RQ job's meta, as the host's own RQ helpers want it."""


class Engine(Protocol):
    """Tasks, frames and annotations. Every method may be called from several threads."""

    def access(self, request: HttpRequest) -> Access: ...

    def task(self, task_id: int) -> Task:
        """Raise TaskNotFound."""

    def tasks(self, task_ids: Collection[int]) -> dict[int, Task]:
        """Those that exist, by id, in few queries however many they are."""

    def task_ids(self) -> Any:
        """Ids of all tasks that exist: a set or a subquery for ``task_id__in``."""

    def job(self, job_id: int) -> Job:
        """Raise JobNotFound."""

    def jobs(self, job_ids: Collection[int]) -> dict[int, Job]:
        """Those that exist, by id, in few queries however many they are."""

    def project_task_ids(self, project_id: int) -> list[int]:
        """Raise NotFound."""

    def frame(self, task_id: int, number: int) -> Frame:
        """One frame, the cheapest way.

        Raise FrameOutOfScope, FrameUnreadable, EngineUnavailable.
        """

    def frame_facts(self, task_id: int, numbers: Collection[int]) -> dict[int, FrameFacts]:
        """Names and sizes of those frames that the task has, by number; nothing is decoded.

        Raise TaskNotFound.
        """

    def frame_key(self, task_id: int, number: int) -> str:
        """A key of the frame's content, without reading it: it changes when the image changes.

        Raise FrameOutOfScope.
        """

    def frames(
        self, task_id: int, numbers: Sequence[int], *, job_id: int | None = None
    ) -> Iterator[Frame | UnreadableFrame]:
        """Frames in the given ascending order; each chunk or video frame is decoded once.

        The iterator is used by one thread and closed (``close()``) when no more are wanted.
        Raise EngineUnavailable where the storage as a whole does not answer.
        """

    def annotations(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> LabeledData:
        """With ids; tracks that have a key frame on any of the frames."""

    def tracks(
        self, task_id: int, *, job_id: int | None = None, frames: Collection[int] | None = None
    ) -> tuple[Track, ...]:
        """The tracks of `annotations` alone: of thousands of shapes there may be none."""

    def annotated_frames(self, task_id: int, *, job_id: int | None = None) -> set[int]:
        """Frames that carry at least one shape, tag or visible track."""

    def existing_ids(self, kind: AnnotationKind, ids: Collection[int]) -> set[int]:
        """Those of the ids that annotations of the kind still have, of whatever task."""

    def last_track_id(self, task_id: int) -> int:
        """The highest id of a task's tracks, 0 without any; tracks made later have higher ones."""

    def atomic(self) -> AbstractContextManager[Any]:
        """The transaction in which `apply` and the app's own rows are written together."""

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
        """Carry out a change inside `atomic`. Raise InvalidRequest on a label of another task."""
