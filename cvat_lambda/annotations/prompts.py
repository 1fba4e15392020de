"""What a caller asks a detector to find: texts, examples, or some of the function's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cvat_lambda.annotations.placement import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """A box around an example of what is to be found on its frame."""

    frame: int  # relative to the task
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the frame
    label: str  # the name of what is found
    negative: bool = False  # an example of what is not meant

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Exemplar:
        """Return a stored exemplar; the inverse of `to_json`."""
        return cls(**{**stored, "box": tuple(stored["box"])})

    def to_json(self) -> dict[str, Any]:
        """Return the exemplar as JSON of the API."""
        return {**asdict(self), "box": list(self.box)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """What is to be found; nothing given means all labels of the function."""

    text: tuple[str, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    labels: tuple[str, ...] = ()  # names of the function's own labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the texts and examples, each once."""
        return tuple(dict.fromkeys([*self.text, *(each.label for each in self.exemplars)]))

    def __bool__(self) -> bool:
        return bool(self.text or self.exemplars or self.labels)

    def fields(self, frame: int | None, placement: Placement) -> dict[str, Any]:
        """Return the members of an invocation about a frame; boxes are in the image's pixels."""
        found: dict[str, Any] = {"text": list(self.text)} if self.text else {}
        shown = [each for each in self.exemplars if each.frame == frame]
        if shown:
            found["exemplars"] = [
                {
                    "box": placement.to_image(each.box),
                    "label": each.label,
                    "negative": each.negative,
                }
                for each in shown
            ]
        return found
