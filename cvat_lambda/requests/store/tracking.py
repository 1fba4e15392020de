"""The parameters of a track request: checked, frozen, and stored as JSON with the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from cvat_lambda.annotations.types import ShapeType
from cvat_lambda.errors import InvalidRequest

Direction = Literal["forward", "backward", "both"]
MaskOutput = Literal["polygons", "masks"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
MASK_OUTPUTS: tuple[MaskOutput, ...] = get_args(MaskOutput)
MAX_OBJECTS = 200  # of one request with shapes, and at once with a detector
DEFAULT_TOLERANCE_PX = 1.0
DEFAULT_EVERY = 10  # frames from one detection to the next
DEFAULT_MAX_GAP = 60  # frames over which ReID joins two tracks


@dataclass(frozen=True, slots=True, kw_only=True)
class StartShape:
    """An object to track, as drawn on its first frame."""

    frame: int  # relative to the task
    label_id: int | None = None  # of the task; None until the label's name is looked up
    label: str = ""  # its name
    type: ShapeType
    points: tuple[float, ...]  # pixels
    attributes: tuple[tuple[int, str], ...] = ()  # pairs of spec id and value


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFilter:
    """Which annotations of a frame to track. None means: all."""

    frame: int | None = None  # None: the first frame of the scope
    label_ids: tuple[int, ...] | None = None
    sources: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None  # of shapes and tracks

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> StartFilter:
        """Return a filter whose members have the right types; lists become tuples."""
        members: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return cls(**members)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDetector:
    """A detector that finds the objects to track on every k-th frame."""

    detector: str  # id of the function
    mapping: Mapping[str, Any] | None = None  # its labels to the task's; None: of the same name
    threshold: float | None = None  # in [0, 1]; None: the function's own default
    every: int = DEFAULT_EVERY  # frames

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InvalidRequest(f"start.every must be at least 1, not {self.every}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidRequest(f"start.threshold must be in [0, 1], not {self.threshold:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How ReID joins a track that ends with one that begins later."""

    reid: str  # id of the function
    threshold: float | None = None  # largest dissimilarity in [0, 1]; None: the function's default
    max_gap: int = DEFAULT_MAX_GAP  # frames between the end of one track and the start of the other

    def __post_init__(self) -> None:
        if self.max_gap < 1:
            raise InvalidRequest(f"link.max_gap must be at least 1, not {self.max_gap}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidRequest(f"link.threshold must be in [0, 1], not {self.threshold:g}")

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """The parameters of a track request. Either ``shapes`` or ``start`` names its objects."""

    shapes: tuple[StartShape, ...] = ()
    start: StartFilter | StartDetector | None = None
    direction: Direction = "forward"
    stop_when_lost: bool = False
    tolerance_px: float = DEFAULT_TOLERANCE_PX  # of the interpolation between keyframes
    mask_output: MaskOutput = "polygons"  # what masks become: a polygon track, or a mask a frame

    def __post_init__(self) -> None:
        if bool(self.shapes) == (self.start is not None):
            raise InvalidRequest("name what to track: either shapes, or start")
        if len(self.shapes) > MAX_OBJECTS:
            raise InvalidRequest(
                f"shapes has {len(self.shapes)} objects: a request tracks at most {MAX_OBJECTS}"
            )
        for name, value, known in (
            ("direction", self.direction, DIRECTIONS),
            ("mask_output", self.mask_output, MASK_OUTPUTS),
        ):
            if value not in known:
                raise InvalidRequest(f"{name} must be one of {', '.join(known)}, not {value!r}")
        if not 0 <= self.tolerance_px <= 100:
            raise InvalidRequest(f"tolerance_px must be in [0, 100], not {self.tolerance_px:g}")
        frames = {shape.frame for shape in self.shapes}
        if self.direction == "both" and len(frames) > 1:
            raise InvalidRequest("direction 'both' needs all shapes on the same frame")
        if self.direction == "both" and self.detector is not None:
            raise InvalidRequest("direction 'both' needs shapes or annotations of one frame")

    @property
    def detector(self) -> StartDetector | None:
        """The detector that finds the objects; None if shapes or annotations are tracked."""
        return self.start if isinstance(self.start, StartDetector) else None

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON; the inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Tracking:
        """Return the parameters of a stored request."""
        shapes = tuple(
            StartShape(
                frame=shape["frame"],
                label_id=shape["label_id"],
                label=shape["label"],
                type=shape["type"],
                points=tuple(shape["points"]),
                attributes=tuple((spec_id, value) for spec_id, value in shape["attributes"]),
            )
            for shape in stored["shapes"]
        )
        return cls(
            shapes=shapes,
            start=_start_from_json(stored.get("start")),
            direction=stored["direction"],
            stop_when_lost=stored["stop_when_lost"],
            tolerance_px=stored["tolerance_px"],
            mask_output=stored.get("mask_output", "polygons"),
        )


def _start_from_json(stored: Mapping[str, Any] | None) -> StartFilter | StartDetector | None:
    if stored is None:
        return None
    return StartDetector(**stored) if "detector" in stored else StartFilter.from_json(stored)
