"""Conversions of weights that several ``convert.py`` share.

They run once, in the function's own environment.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from common import tfjs


def graph_model_to_ir(model_json: Path, target: Path) -> None:
    """Convert a TensorFlow.js graph model to OpenVINO's format, written to ``target`` (.xml)."""
    frozen = target.with_suffix(".pb")
    frozen.write_bytes(tfjs.convert(model_json))
    to_ir(frozen, target)
    frozen.unlink()


def to_ir(source: Path, target: Path) -> None:
    """Convert a frozen graph or an ONNX file to OpenVINO's format, written to ``target`` (.xml)."""
    openvino: Any = importlib.import_module("openvino")
    # Weights stay float32: half precision would change answers and save disk space only.
    openvino.save_model(openvino.convert_model(str(source)), str(target), compress_to_fp16=False)
