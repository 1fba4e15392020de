"""The data that the stages of a run exchange, and the protocol of the kinds of functions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from cvat_lambda.annotations.notes import Note
from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import LambdaError
from cvat_lambda.gateway.payload import Body
from cvat_lambda.images.resize import ResizedImage
from cvat_lambda.requests.store.models import FrameStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The frames of one invocation: one frame, several, or a pair of neighbours."""

    frames: tuple[Frame, ...]
    numbers: tuple[int, ...]  # the frames that get an outcome from this invocation
    context: Any = None  # of ReID: the rectangles of both frames

    @property
    def size(self) -> int:
        """The bytes of its images."""
        return sum(len(frame.data) for frame in self.frames)


class Version(NamedTuple):
    """A version of a function."""

    version: int
    revision: str  # a hash of its content


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameResult:
    """The outcome of one frame, ready to be written."""

    frame: int
    status: str  # of FrameStatus
    data: LabeledData = field(default_factory=LabeledData)
    code: str = ""
    message: str = ""
    attempts: int = 0
    duration_s: float | None = None
    dropped: int = 0  # items of the answer that gave no annotation
    notes: tuple[Note, ...] = ()
    version: Version | None = None  # of the function that was invoked; None: of the run
    result: Any = None  # JSON that `Work.finish` needs
    checkpoint: Callable[[], bytes] | None = None  # packs a sequential run's state after the frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Skips:
    """Frames that are not run, each with its reason. They are written in one batch."""

    reasons: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedUnit:
    """The request body of a unit's invocation."""

    body: Body
    images: tuple[ResizedImage, ...]  # as they are sent, with their scales


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAnswer:
    """A function's answer, with the number of attempts and the time that it took."""

    answer: object
    attempts: int
    duration_s: float
    version: Version | None = None  # of the function that answered


Ask = Callable[[Body], UnitAnswer]  # invokes the run's function with a body; raises LambdaError


ReaderItem = Unit | FrameResult | Skips


class Work(Protocol):
    """What a run does for one kind of function. Several threads call the methods."""

    # Whether an invocation needs the results of the previous one; then one at a time is in flight.
    sequential: bool = False
    # Whether frames can be moved to another shard while the run lasts.
    divisible: bool = False

    def units(self, frames: Iterator[Frame | UnreadableFrame]) -> Iterator[ReaderItem]:
        """Group frames into units of one invocation; the reader thread calls this."""

    def numbers(self) -> Iterator[int]:
        """Return the frames to read, ascending."""

    def run(self, unit: Unit, ask: Ask) -> list[FrameResult]:
        """Invoke the function for a unit; return one result for each frame. Raise LambdaError."""

    def parts(self, unit: Unit) -> list[Unit]:
        """Split a unit that failed; return the unit alone if it cannot be split."""

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """Do the slow reading for `finish` outside its transaction, so that a cancel need not wait.

        ``check`` raises if the lease was lost meanwhile.
        """

    def finish(self) -> None:
        """Write what needs the outcomes of all frames, inside the shard's last transaction.

        It may run again after a kill; it must then do only what is left. Raise LeaseLost.
        """


class SingleInvocationWork(Work):
    """Work that needs exactly one invocation for each unit."""

    def run(self, unit: Unit, ask: Ask) -> list[FrameResult]:
        """Encode the unit, invoke the function, and convert its answer."""
        sent = self.prepare(unit)
        answered = ask(sent.body)
        return [
            replace(result, version=answered.version)
            for result in self.results(unit, sent, answered)
        ]

    @abstractmethod
    def prepare(self, unit: Unit) -> EncodedUnit:
        """Encode the body of a unit's invocation. Raise LambdaError."""

    @abstractmethod
    def results(self, unit: Unit, sent: EncodedUnit, answered: UnitAnswer) -> list[FrameResult]:
        """Check an answer and convert it to one result for each frame. Raise LambdaError."""


def failed(frame: int, error: LambdaError, *, attempts: int, duration_s: float) -> FrameResult:
    """Return the result of a frame that failed with an error."""
    return FrameResult(
        frame=frame,
        status=FrameStatus.FAILED,
        code=error.code,
        message=error.message,
        attempts=attempts,
        duration_s=duration_s,
    )
