"""The parameters of a call, parsed and typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cvat_lambda.annotations.prompts import Exemplar, Prompts
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.images.region import Region

Point = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerShape:
    """A shape that a track starts with."""

    type: str
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallParams:
    """A call's parameters; None means not given. Frames are relative to the task."""

    task_id: int | None = None
    job_id: int | None = None
    frame: int | None = None
    threshold: float | None = None  # in [0, 1]; 0 is a threshold, too
    roi: Region | None = None
    # detector
    mapping: Mapping[str, Any] | None = None
    conv_mask_to_poly: bool = False
    text: tuple[str, ...] | None = None
    exemplars: tuple[Exemplar, ...] | None = None
    labels: tuple[str, ...] | None = None  # of the function; None: all
    # interactor
    pos_points: tuple[Point, ...] | None = None
    neg_points: tuple[Point, ...] | None = None
    obj_bbox: tuple[Point, ...] | None = None  # (): no box; else two corners
    want: Literal["mask", "blob", "embedding"] | None = None  # None: `AnswerFormat.choose` decides
    from_browser: bool = False  # the caller is a web page
    # tracker
    shapes: tuple[TrackerShape | None, ...] | None = None
    states: tuple[str | None, ...] | None = None
    steps: int | None = None  # the number of frames to stream, from `frame` on; None: one answer
    # reid
    frame0: int | None = None
    frame1: int | None = None
    boxes0: tuple[Mapping[str, Any], ...] | None = None
    boxes1: tuple[Mapping[str, Any], ...] | None = None
    max_distance: int | None = None  # pixels

    @property
    def prompts(self) -> Prompts:
        """What a detector is asked to find."""
        return Prompts(
            text=self.text or (), exemplars=self.exemplars or (), labels=self.labels or ()
        )

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that the call is about."""
        given = (self.frame, self.frame0, self.frame1)
        return tuple({number for number in given if number is not None})


def require(spec: FunctionSpec, params: CallParams, *names: str) -> None:
    """Raise InvalidRequest naming every parameter that a call of this kind lacks."""
    missing = [name for name in names if getattr(params, name) is None]
    if missing:
        raise InvalidRequest(
            f"A call of {spec.kind.value} '{spec.id}' needs {_listed(names)};"
            f" {_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )


def require_prompt(spec: FunctionSpec, params: CallParams) -> None:
    """Raise InvalidRequest if a call of an interactor has neither points nor a box."""
    needs_points = spec.interactor is None or spec.interactor.min_pos_points > 0
    if needs_points and not (params.pos_points or params.neg_points or params.obj_bbox):
        raise InvalidRequest(
            f"A call of interactor '{spec.id}' needs at least one point in 'pos_points' or a box in"
            " 'obj_bbox'."
        )


def refuse_roi(spec: FunctionSpec, params: CallParams) -> None:
    """Raise InvalidRequest if a region is given to a function that takes whole frames."""
    if params.roi is not None:
        raise InvalidRequest(
            f"A call of {spec.kind.value} '{spec.id}' needs whole frames: remove 'roi'."
        )


def _listed(names: Sequence[str]) -> str:
    *head, last = [f"'{name}'" for name in names]
    return f"{', '.join(head)} and {last}" if head else last
