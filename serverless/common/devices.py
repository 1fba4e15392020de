"""On what a network runs, and how an OpenVINO network is loaded."""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)
_MAY_BE_ABSENT = ("AUTO", "GPU")  # what such a device needs may be missing on this machine


def threads() -> int:
    """Return how many threads one worker's network may use.

    The environment says it: CVAT_LAMBDA_THREADS, else OMP_NUM_THREADS, which the embedded runtime
    sets to the worker's share of the cores; where neither is set, it is 2.
    """
    said = os.environ.get("CVAT_LAMBDA_THREADS") or os.environ.get("OMP_NUM_THREADS") or "2"
    return max(1, int(said))


def openvino_device() -> str:
    """Return OpenVINO's name of the device to use (environment: OPENVINO_DEVICE)."""
    return os.environ.get("OPENVINO_DEVICE") or "CPU"


def once_each(*devices: str) -> str:
    """Return the devices of a function's networks as one text."""
    return ", ".join(dict.fromkeys(devices))


class OpenVinoNetwork:
    """A network file (IR, ONNX, frozen TensorFlow graph) compiled for this worker in float32.

    float32 is asked for because the CPU's own choice may be bfloat16, whose embeddings are off by
    up to a half. Where the GPU that OPENVINO_DEVICE names cannot be used, the log says why and
    the CPU does the work.
    """

    def __init__(self, path: Path) -> None:
        # Loaded late: this module also serves functions that do not have OpenVINO.
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        self._compiled: Any = _compile(core, core.read_model(str(path)), openvino_device())
        self._request: Any = self._compiled.create_infer_request()

    @property
    def device(self) -> str:
        """Return the devices that run it, in OpenVINO's names."""
        return ", ".join(self._compiled.get_property("EXECUTION_DEVICES"))

    def input_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input that has a fixed one."""
        return tuple(self._compiled.input(name).shape)

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


def _compile(core: Any, model: Any, device: str) -> Any:
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if device.startswith("CPU"):
        # Not pinned: each process would take the first cores, and leave the others to nobody.
        share = {"INFERENCE_NUM_THREADS": threads(), "ENABLE_CPU_PINNING": False}
        return core.compile_model(model, device, {**config, **share})
    try:
        return core.compile_model(model, device, config)
    except RuntimeError as exc:
        if not device.startswith(_MAY_BE_ABSENT):
            raise
        cause = " ".join(str(exc).split())
        logger.warning("OpenVINO cannot use %s, the CPU is used instead: %s", device, cause)
        return _compile(core, model, "CPU")
