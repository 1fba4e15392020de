"""COCO's category ids (1 to 90 with gaps), which TensorFlow's detectors emit."""

from __future__ import annotations

from common.coco import COCO_80

# Ids that COCO reserved and never used (cocodataset.org, 2017 annotations).
_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

#: category id -> label as CVAT's function.yaml files spell it, with underscores
LABEL_OF_ID: dict[int, str] = dict(
    zip(
        (number for number in range(1, 91) if number not in _UNUSED),
        (name.replace(" ", "_") for name in COCO_80),
        strict=True,
    )
)
