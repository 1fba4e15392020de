"""What travels through a run: units of frames on the way in, results of frames on the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import LambdaError
from cvat_lambda.images.resize import ResizedImage
from cvat_lambda.requests.store.models import FrameStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one invocation works on: a frame, several frames, or a pair of them."""

    frames: tuple[Frame, ...]
    numbers: tuple[int, ...]  # the frames that get an outcome from it
    context: Any = None  # of the kind: the boxes of a pair

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(len(frame.data) for frame in self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """What became of one frame, ready to be written."""

    frame: int
    status: str  # of FrameStatus
    data: LabeledData = field(default_factory=LabeledData)
    code: str = ""
    message: str = ""
    attempts: int = 0
    duration_s: float | None = None
    dropped: int = 0  # results that were unmapped or degenerate
    result: Any = None  # JSON that the end of the request needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Skips:
    """Frames that are left out, each with its reason; written together, however many."""

    reasons: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedUnit:
    """What is sent for a unit."""

    body: bytes
    images: tuple[ResizedImage, ...]  # as they are sent, with their scale


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAnswer:
    """A function's answer and what it took."""

    answer: object
    attempts: int
    duration_s: float


ReaderItem = Unit | FrameResult | Skips


class Work(Protocol):
    """What a kind of function does in a run. Methods are called from several threads."""

    def units(self, frames: Iterator[Frame | UnreadableFrame]) -> Iterator[ReaderItem]:
        """Group frames into invocations; called by the reading thread."""

    def numbers(self) -> Iterator[int]:
        """The frames to read, ascending: those without an outcome."""

    def prepare(self, unit: Unit) -> EncodedUnit:
        """Encode the unit's invocation. Raise LambdaError."""

    def results(self, unit: Unit, sent: EncodedUnit, answered: UnitAnswer) -> list[FrameResult]:
        """Check and convert the answer. Raise LambdaError."""

    def parts(self, unit: Unit) -> list[Unit]:
        """Smaller units to try where this one failed as a whole; itself where it is smallest."""

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """ReaderItem what `finish` needs, where that takes long: no cancel has to wait for this.

        ``check`` raises CallAbandoned where the shard is lost meanwhile.
        """

    def finish(self) -> None:
        """Everything has an outcome: write what the whole gives, behind the fence.

        It may be run again after a kill, and must then do only what is left. Raise LeaseLost.
        """


def failed(frame: int, error: LambdaError, *, attempts: int, duration_s: float) -> FrameResult:
    """The result of a frame that an error ended."""
    return FrameResult(
        frame=frame,
        status=FrameStatus.FAILED,
        code=error.code,
        message=error.message,
        attempts=attempts,
        duration_s=duration_s,
    )
