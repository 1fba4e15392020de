"""ONNX files in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from common.devices import threads

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# ONNX Runtime's names of the types of inputs -> NumPy's.
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class OnnxNetwork:
    """A network on CUDA when it is available, else on the CPU."""

    def __init__(self, path: Path) -> None:
        # CUDA's libraries may be installed as wheels, where the loader does not search.
        onnxruntime.preload_dlls()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        # Threads that spin while they wait take CPU time from other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        available = onnxruntime.get_available_providers()
        providers = [name for name in wanted if name in available]
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._inputs = {each.name: each for each in self._session.get_inputs()}

    @property
    def device(self) -> str:
        """Return ONNX Runtime's name of the device that runs the network."""
        return str(self._session.get_providers()[0])

    @property
    def metadata(self) -> dict[str, str]:
        """Return the texts that the exporter wrote into the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Return the shape of each input; None stands for a side that varies."""
        return {
            name: tuple(side if isinstance(side, int) else None for side in each.shape)
            for name, each in self._inputs.items()
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs, in the file's order."""
        return tuple(each.name for each in self._session.get_outputs())

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the network; inputs are converted to the types that it takes."""
        feeds = {
            name: np.ascontiguousarray(value, dtype=_TYPES.get(self._inputs[name].type))
            for name, value in inputs.items()
        }
        return list(self._session.run(None, feeds))
