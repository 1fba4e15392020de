"""COCO's own category numbers (1 to 90 with gaps), as TensorFlow's detectors emit them."""

from __future__ import annotations

from common.coco import COCO_80

# Numbers that COCO reserved and never used (cocodataset.org, 2017 annotations).
_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

#: category number -> label as CVAT's specs spell it, with underscores
LABEL_OF_ID: dict[int, str] = dict(
    zip(
        (number for number in range(1, 91) if number not in _UNUSED),
        (name.replace(" ", "_") for name in COCO_80),
        strict=True,
    )
)
