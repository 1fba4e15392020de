"""Threads and devices of a network, and OpenVINO networks."""

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
_MAY_BE_ABSENT = ("AUTO", "GPU")  # devices that a machine may lack


def threads() -> int:
    """Return how many threads the networks of one worker may use.

    The number is CVAT_LAMBDA_THREADS of the environment, else OMP_NUM_THREADS, else 2. The embedded
    runtime sets OMP_NUM_THREADS to the worker's share of the cores.
    """
    setting = os.environ.get("CVAT_LAMBDA_THREADS") or os.environ.get("OMP_NUM_THREADS") or "2"
    return max(1, int(setting))


def openvino_device() -> str:
    """Return OpenVINO's name of the device to use (environment: OPENVINO_DEVICE)."""
    return os.environ.get("OPENVINO_DEVICE") or "CPU"


def once_each(*devices: str) -> str:
    """Return the devices of a function's networks, each once, as one text."""
    return ", ".join(dict.fromkeys(devices))


class OpenVinoNetwork:
    """A network file (IR, ONNX, frozen TensorFlow graph) compiled for this worker in float32.

    On some CPUs OpenVINO would choose bfloat16, whose embeddings differ by up to 50 %. Where the
    device is a GPU that OpenVINO cannot use, the CPU is used and the log states the cause.
    """

    def __init__(self, path: Path) -> None:
        # Imported late: functions without OpenVINO use this module as well.
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        self._compiled: Any = _compile(core, core.read_model(str(path)), openvino_device())
        self._request: Any = self._compiled.create_infer_request()

    @property
    def device(self) -> str:
        """Return OpenVINO's names of the devices that run the network."""
        return ", ".join(self._compiled.get_property("EXECUTION_DEVICES"))

    def input_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input with a fixed shape."""
        return tuple(self._compiled.input(name).shape)

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the network; inputs and outputs are in the order of the file. Outputs are copies."""
        self._request.infer(dict(enumerate(inputs)))
        return [np.array(output.data) for output in self._request.output_tensors]

    def run_named(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the network on named inputs; return copies of its outputs under all their names."""
        self._request.infer(inputs)
        return {
            name: np.array(self._request.get_tensor(port).data)
            for port in self._compiled.outputs
            for name in port.names
        }


def _compile(core: Any, model: Any, device: str) -> Any:
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if device.startswith("CPU"):
        # Not pinned: every process would be pinned to the same first cores.
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
