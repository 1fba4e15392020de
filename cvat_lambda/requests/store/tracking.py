"""The parameters of a track request: checked, frozen, and stored as JSON with the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from cvat_lambda.annotations.types import ShapeType
from cvat_lambda.errors import InvalidRequest

Direction = Literal["forward", "backward", "both"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
MAX_OBJECTS = 200  # of one request
DEFAULT_TOLERANCE_PX = 1.0


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
    ids: tuple[int, ...] | None = None  # of shapes

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> StartFilter:
        """Return a filter whose members have the right types; lists become tuples."""
        members: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return cls(**members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """The parameters of a track request. Either ``shapes`` or ``start`` names its objects."""

    shapes: tuple[StartShape, ...] = ()
    start: StartFilter | None = None
    direction: Direction = "forward"
    stop_when_lost: bool = False
    tolerance_px: float = DEFAULT_TOLERANCE_PX  # of the interpolation between keyframes

    def __post_init__(self) -> None:
        if bool(self.shapes) == (self.start is not None):
            raise InvalidRequest("name what to track: either shapes, or start")
        if len(self.shapes) > MAX_OBJECTS:
            raise InvalidRequest(
                f"shapes has {len(self.shapes)} objects: a request tracks at most {MAX_OBJECTS}"
            )
        if self.direction not in DIRECTIONS:
            raise InvalidRequest(
                f"direction must be one of {', '.join(DIRECTIONS)}, not {self.direction!r}"
            )
        if not 0 <= self.tolerance_px <= 100:
            raise InvalidRequest(f"tolerance_px must be in [0, 100], not {self.tolerance_px:g}")
        frames = {shape.frame for shape in self.shapes}
        if self.direction == "both" and len(frames) > 1:
            raise InvalidRequest("direction 'both' needs all shapes on the same frame")

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
        start = stored.get("start")
        return cls(
            shapes=shapes,
            start=None if start is None else StartFilter.from_json(start),
            direction=stored["direction"],
            stop_when_lost=stored["stop_when_lost"],
            tolerance_px=stored["tolerance_px"],
        )
