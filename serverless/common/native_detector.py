"""Detection functions of CVAT's SDK."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from typing import Any

from cvat_sdk import auto_annotation
from PIL import Image

from common.images import decode_image
from common.inputs import read_threshold
from common.native_masks import decode


class _Context(auto_annotation.DetectionFunctionContext):
    """What a detection function is told about a call."""

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold

    @property
    def frame_name(self) -> str:
        """Return no name: calls do not contain it."""
        return ""

    @property
    def conf_threshold(self) -> float | None:
        """Return the threshold in [0, 1], or None for the function's own."""
        return self._threshold

    @property
    def conv_mask_to_poly(self) -> bool:
        """Return False: the app outlines masks where polygons are wanted."""
        return False


class NativeDetector:
    """Answers the calls of a detector."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._labels = {label.id: label for label in function.spec.labels}

    def annotations(self) -> dict[str, str]:
        """Return the type and the labels as function.yaml has them."""
        lines = [json.dumps(_described(label)) for label in self._labels.values()]
        return {"type": "detector", "spec": "[\n  " + ",\n  ".join(lines) + "\n]"}

    def answer(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the items that the function finds in a call's image."""
        given = body.get("threshold")
        context = _Context(None if given is None else read_threshold(body, 0.0))
        image = Image.fromarray(decode_image(body.get("image")))
        return [
            _item(found.to_dict(), self._labels) for found in self._function.detect(context, image)
        ]


def _described(label: Any) -> dict[str, Any]:
    """Return a label as function.yaml has it: skeletons with a drawing, if they have none."""
    described: dict[str, Any] = label.to_dict()
    if described.get("sublabels") and not described.get("svg"):
        described["svg"] = _drawing([sublabel.name for sublabel in label.sublabels])
    return described


def _drawing(names: Sequence[str]) -> str:
    """Return CVAT's drawing of a skeleton whose points lie on a circle in a square of 100 x 100."""
    circles = []
    for number, name in enumerate(names, start=1):
        angle = 2 * math.pi * (number - 1) / len(names)
        x, y = round(50 + 40 * math.sin(angle), 1), round(50 - 40 * math.cos(angle), 1)
        circles.append(
            f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" '
            f'data-element-id="{number}" data-node-id="{number}" '
            f'data-label-name="{html.escape(name)}"></circle>'
        )
    return "".join(circles)


def _item(found: dict[str, Any], labels: dict[int, Any]) -> dict[str, Any]:
    """Return a tag, a shape or an element as an item of a detector's answer."""
    label = labels.get(found["label_id"])
    if label is None:
        raise auto_annotation.BadFunctionError(
            f"it answered the label id {found['label_id']}, which is not in its spec"
        )
    item: dict[str, Any] = {"label": label.name, "type": found.get("type", "tag")}
    if item["type"] == "mask":
        part, box = decode(found["points"])
        item["mask"] = [*part.astype(int).ravel().tolist(), *box]
    elif "points" in found:
        item["points"] = found["points"]
    for name, own in (("score", "confidence"), ("group", "group_id")):
        if found.get(name) is not None:
            item[own] = found[name]
    for name in ("rotation", "outside", "occluded"):
        if found.get(name):
            item[name] = found[name]
    if found.get("attributes"):
        names = {each.id: each.name for each in getattr(label, "attributes", ())}
        item["attributes"] = [
            {"name": names[each["spec_id"]], "value": each["value"]} for each in found["attributes"]
        ]
    if found.get("elements"):
        sublabels = {each.id: each for each in getattr(label, "sublabels", ())}
        item["elements"] = [_item(each, sublabels) for each in found["elements"]]
    return item
