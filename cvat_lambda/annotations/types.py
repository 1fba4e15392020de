"""The data classes of labels, shapes, tags and tracks.

Shape formats are those of CVAT's REST API (``/api/tasks/ID/annotations``): points are
``[x0, y0, x1, y1, ...]`` in pixels of the whole frame; a mask is run lengths (zeros first,
row-major inside its inclusive box) followed by ``left, top, right, bottom``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

LabelType = Literal[
    "any",
    "cuboid",
    "ellipse",
    "mask",
    "points",
    "polygon",
    "polyline",
    "rectangle",
    "skeleton",
    "tag",
]
ShapeType = Literal[
    "rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"
]
InputType = Literal["checkbox", "radio", "number", "text", "select"]
Source = Literal["auto", "semi-auto", "manual", "file", "consensus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute of a label. ``values`` of a number are ``(min, max, step)`` as text."""

    name: str
    input_type: InputType
    values: tuple[str, ...] = ()
    id: int | None = None  # the engine's spec id; None for a function's own attribute
    mutable: bool = False
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label of a task (with id) or of a function (without)."""

    name: str
    type: LabelType = "any"
    attributes: tuple[Attribute, ...] = ()
    sublabels: tuple[Label, ...] = ()  # of a skeleton, in the order of its points
    svg: str = ""
    id: int | None = None
    color: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeValue:
    """A value given to an attribute of the task's label."""

    spec_id: int
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A shape on one frame; a skeleton has ``elements`` and no points."""

    type: ShapeType
    frame: int  # relative to the task
    label_id: int
    points: tuple[float, ...] = ()
    rotation: float = 0.0  # degrees in [0, 360)
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    group: int = 0
    source: Source = "auto"
    attributes: tuple[AttributeValue, ...] = ()
    elements: tuple[Shape, ...] = ()
    score: float = 1.0  # confidence in [0, 1]
    id: int | None = None
    extra: str = ""  # JSON object of the members that this version does not know; "": none


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A label of a whole frame."""

    frame: int
    label_id: int
    group: int = 0
    source: Source = "auto"
    attributes: tuple[AttributeValue, ...] = ()
    score: float = 1.0
    id: int | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedShape:
    """One key frame of a track. ``outside`` ends the visible part."""

    type: ShapeType
    frame: int
    points: tuple[float, ...] = ()
    rotation: float = 0.0
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    attributes: tuple[AttributeValue, ...] = ()  # mutable attributes only
    id: int | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One object over many frames: key frames in ascending order of frame."""

    frame: int  # first key frame
    label_id: int
    shapes: tuple[TrackedShape, ...] = ()
    group: int = 0
    source: Source = "auto"
    attributes: tuple[AttributeValue, ...] = ()  # immutable attributes
    elements: tuple[Track, ...] = ()  # of a skeleton track
    score: float = 1.0
    id: int | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A part of an audio track (since CVAT 2.63), which this app neither reads nor changes."""

    extra: str  # JSON object of all members but the id
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledData:
    """Annotations of some frames."""

    tags: tuple[Tag, ...] = ()
    shapes: tuple[Shape, ...] = ()
    tracks: tuple[Track, ...] = field(default=())
    intervals: tuple[Interval, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tags or self.shapes or self.tracks or self.intervals)

    def __add__(self, other: LabeledData) -> LabeledData:
        return LabeledData(
            tags=self.tags + other.tags,
            shapes=self.shapes + other.shapes,
            tracks=self.tracks + other.tracks,
            intervals=self.intervals + other.intervals,
        )
