"""On what a network runs, and how an OpenVINO network is loaded."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def threads() -> int:
    """Return how many threads one worker's network may use (environment: CVAT_LAMBDA_THREADS)."""
    return max(1, int(os.environ.get("CVAT_LAMBDA_THREADS", "2")))


def openvino_device() -> str:
    """Return OpenVINO's name of the device to use (environment: OPENVINO_DEVICE)."""
    return os.environ.get("OPENVINO_DEVICE", "CPU")


class OpenVinoNetwork:
    """A network file (IR, ONNX, frozen TensorFlow graph) compiled for this worker in float32.

    float32 is asked for because the CPU's own choice may be bfloat16, whose embeddings are off by
    up to a half.
    """

    def __init__(self, path: Path) -> None:
        # Loaded late: this module also serves functions that do not have OpenVINO.
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if openvino_device().startswith("CPU"):
            config["INFERENCE_NUM_THREADS"] = threads()
        self._compiled: Any = core.compile_model(
            core.read_model(str(path)), openvino_device(), config
        )
        self._request: Any = self._compiled.create_infer_request()

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the network on its inputs, in order; return copies of its outputs, in order."""
        self._request.infer(dict(enumerate(inputs)))
        return [np.array(output.data) for output in self._request.output_tensors]

    def run_named(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the network on inputs by name; return copies of its outputs under all their names."""
        self._request.infer(inputs)
        return {
            name: np.array(self._request.get_tensor(port).data)
            for port in self._compiled.outputs
            for name in port.names
        }
