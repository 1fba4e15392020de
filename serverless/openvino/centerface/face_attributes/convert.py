"""Convert the published files once: ``python convert.py SOURCE_DIR TARGET_DIR``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import centerface
from common.conversion import graph_model_to_ir
from model import AGE_WEIGHTS, EMOTION_WEIGHTS, GENDER_WEIGHTS

GRAPHS = {
    "age.json": AGE_WEIGHTS,
    "gender-ssrnet-imdb.json": GENDER_WEIGHTS,
    "emotion.json": EMOTION_WEIGHTS,
}


def free_size(source: Path, target: Path) -> None:
    """Write the detector for one image of any size; the published file has ten of 32 x 32."""
    openvino: Any = importlib.import_module("openvino")
    model = openvino.Core().read_model(str(source))
    model.reshape([1, 3, -1, -1])
    openvino.save_model(model, str(target), compress_to_fp16=False)


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    free_size(source / "centerface.onnx", target / centerface.WEIGHTS)
    for name, weights in GRAPHS.items():
        graph_model_to_ir(source / name, target / weights)
