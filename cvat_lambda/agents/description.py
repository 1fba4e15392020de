"""The description of a native function: checked, and turned into the metadata of a `Function`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from cvat_lambda.annotations.errors import SpecError
from cvat_lambda.annotations.labels import labels_v2, parse_function_labels
from cvat_lambda.annotations.types import Label
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.spec import Kind

MAX_BODY_BYTES: Final = 64 * 1024 * 1024  # of the parameters of one entry
KINDS: Final = (Kind.DETECTOR, Kind.INTERACTOR, Kind.TRACKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A native function as its owner describes it."""

    name: str
    kind: Kind
    private: bool = True
    labels: Sequence[Any] = ()  # of a detector: ``labels_v2``, untrusted
    min_pos_points: int = 1  # of an interactor, as the next three
    min_neg_points: int = -1  # -1: it takes no negative points
    startswith_box: bool = False
    startswith_box_optional: bool = False
    shape_types: Sequence[str] = field(default=())  # of a tracker

    def spec(self) -> dict[str, Any]:
        """Return the fields of the kind, complete, as the API shows them.

        Raise InvalidRequest if a label cannot be used.
        """
        if self.kind is Kind.DETECTOR:
            return {"labels_v2": [_shown(label) for label in labels_v2(self._labels())]}
        if self.kind is Kind.INTERACTOR:
            return {
                "min_pos_points": self.min_pos_points,
                "min_neg_points": self.min_neg_points,
                "startswith_box": self.startswith_box,
                "startswith_box_optional": self.startswith_box_optional,
            }
        return {"supported_shape_types": sorted(set(self.shape_types))}

    def metadata(self, function_id: str, *, workers: int) -> dict[str, Any]:
        """Return the function as a function object of a platform. Raise InvalidRequest."""
        annotations = {"name": self.name, "type": self.kind.value, "version": "2"}
        if self.kind is Kind.DETECTOR:
            annotations["spec"] = json.dumps(labels_v2(self._labels()))
        elif self.kind is Kind.INTERACTOR:
            annotations |= {key: str(value).lower() for key, value in self.spec().items()}
        else:
            annotations["supported_shape_types"] = ",".join(sorted(set(self.shape_types)))
        trigger = {
            "kind": "http",
            "numWorkers": workers,
            "attributes": {"maxRequestBodySize": MAX_BODY_BYTES},
        }
        return {
            "metadata": {"name": function_id, "annotations": annotations},
            "spec": {"description": "", "triggers": {"http": trigger}},
        }

    def _labels(self) -> tuple[Label, ...]:
        if not self.labels:
            raise InvalidRequest("labels_v2: a detector needs at least one label")
        try:
            return parse_function_labels([_with_svg(label) for label in self.labels])
        except SpecError as exc:
            raise InvalidRequest(f"labels_v2: {exc}") from exc


def _shown(label: Mapping[str, Any]) -> dict[str, Any]:
    """Return a label without the drawing, which its owner did not give."""
    return {key: value for key, value in label.items() if key != "svg"}


def _with_svg(label: Any) -> Any:
    """Return a skeleton with a drawing of its points in a row.

    A native function does not describe how its skeletons are drawn, but every skeleton has a
    drawing in CVAT.
    """
    if not isinstance(label, dict) or not isinstance(label.get("sublabels"), list):
        return label
    label = {"type": "skeleton", **label}
    count = len(label["sublabels"])
    points = []
    for number, sublabel in enumerate(label["sublabels"], 1):
        name = sublabel.get("name") if isinstance(sublabel, dict) else None
        points.append(
            f'<circle r="0.75" cx="{100 * number / (count + 1):.4f}" cy="50"'
            f' data-type="element node" data-element-id="{number}" data-node-id="{number}"'
            f" data-label-name={quoteattr(str(name))}></circle>"
        )
    return {**label, "svg": "".join(points) or " "}
