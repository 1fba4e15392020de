"""A detection function of CVAT's SDK: a box and a mask around what is bright, and a tag."""

from __future__ import annotations

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
from cvat_sdk import models
from cvat_sdk.masks import encode_mask


class _BrightBox:
    def __init__(self, level: int = 128) -> None:
        self._level = level

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        corners = [cvataa.keypoint_spec("first", 0), cvataa.keypoint_spec("last", 1)]
        size = cvataa.select_attribute_spec("size", 5, ["small", "large"])
        return cvataa.DetectionFunctionSpec(
            labels=[
                cvataa.label_spec("bright", 0, type="rectangle", attributes=[size]),
                cvataa.label_spec("light", 3, type="mask"),
                cvataa.label_spec("day", 4, type="tag"),
                cvataa.skeleton_label_spec("diagonal", 7, corners),
            ]
        )

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        bright = np.asarray(image.convert("L")) >= self._level
        share = float(bright.mean())
        if not bright.any() or share < (context.conf_threshold or 0):
            return []
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        left, top, right, bottom = (
            float(value) for value in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        )
        return [
            cvataa.rectangle(
                0,
                [left, top, right, bottom],
                score=share,
                attributes=[models.AttributeValRequest(spec_id=5, value="small")],
            ),
            cvataa.mask(3, encode_mask(bright), score=share),
            cvataa.skeleton(
                7,
                [
                    cvataa.keypoint(0, [left, top]),
                    cvataa.keypoint(1, [right, bottom], outside=True),
                ],
            ),
            cvataa.tag(4),
        ]


create = _BrightBox
