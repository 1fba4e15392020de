"""Stand-ins for the face networks: official inputs and outputs, and answers that are known.

The detector finds the red rectangle, in BGR order only, and three fixed candidates. Age, gender and
emotion depend on how red the crop is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino

from tests.functions.catalogue.stand_ins import red_box

FAINT = (208.0, 104.0, 416.0, 208.0, 0.25)  # of the 416 x 416 square, with its score
OUTSIDE = (400.0, 400.0, 500.0, 430.0, 0.22)
SLIVER = (100.0, 100.0, 100.2, 200.0, 0.21)


def _mean(ops: Any, picture: Any, channel: int) -> Any:
    own = ops.split(picture, ops.constant(1), 3).output(channel)
    return ops.reduce_mean(own, ops.constant([1, 2, 3]), True)  # 1 x 1 x 1 x 1


def make_detector(folder: Path) -> Path:
    """Write the detector."""
    ops = openvino.opset13
    image = ops.parameter([1, 3, 416, 416], np.float32, name="image")
    image.output(0).get_tensor().set_names({"image"})
    own = ops.concat(
        [red_box.find(ops, image, width=416, height=416), ops.constant([np.float32(0.875)])], 0
    )
    others = np.zeros((199, 5), np.float32)
    others[:3] = [FAINT, OUTSIDE, SLIVER]
    boxes = ops.concat([ops.unsqueeze(own, ops.constant([0])), ops.constant(others)], 0)
    labels = ops.constant(np.zeros(200, np.int64))
    outputs = {"boxes": boxes, "labels": labels}
    return red_box.save(folder / "face.xml", [image], outputs)


def make_age_gender(folder: Path, age_output: str = "fc3_a") -> Path:
    """Write the network of age and gender; its age has had two names."""
    ops = openvino.opset13
    data = ops.parameter([1, 3, 62, 62], np.float32, name="data")
    data.output(0).get_tensor().set_names({"data"})
    red, blue = _mean(ops, data, 2), _mean(ops, data, 0)
    age = ops.multiply(red, ops.constant(np.float32(0.34 / 255)))
    outputs = {age_output: age, "prob": ops.concat([blue, red], 1)}
    return red_box.save(folder / f"{age_output}.xml", [data], outputs)


def make_emotion(folder: Path) -> Path:
    """Write the network of emotions."""
    ops = openvino.opset13
    data = ops.parameter([1, 3, 64, 64], np.float32, name="data")
    data.output(0).get_tensor().set_names({"data"})
    values = [ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (1, 0, 2, 30)]
    prob = ops.concat([*values[:3], _mean(ops, data, 2), values[3]], 1)  # surprise when red
    return red_box.save(folder / "emotion.xml", [data], {"prob_emotion": prob})
