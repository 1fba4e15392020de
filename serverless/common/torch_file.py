"""Reads parameters out of a checkpoint in PyTorch's old format without PyTorch.

The format (torch.save before 1.6): a magic number, a protocol number and a description of the
machine, then the object with its storages named by persistent ids, then the storages' names in the
order in which their numbers follow. The reader calls nothing that the file names.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class UnreadableCheckpoint(ValueError):
    """The file is not a checkpoint of tensors in the old format."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_parameters(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a saved ``state_dict`` by name."""
    with path.open("rb") as stream:
        if _plain(stream) != MAGIC or _plain(stream) != PROTOCOL:
            raise UnreadableCheckpoint(f"{path.name} is not a checkpoint in PyTorch's old format")
        if not _plain(stream).get("little_endian"):
            raise UnreadableCheckpoint(f"{path.name} was written on a big-endian machine")
        described = _TensorUnpickler(stream).load()
        if not isinstance(described, dict):
            raise UnreadableCheckpoint(f"{path.name} holds no parameters by name")
        dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in described.values()}
        values = {key: _read_storage(stream, dtypes[key]) for key in _plain(stream)}
    return {name: _view(tensor, values) for name, tensor in described.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Reads ordered dictionaries and tensors, and refuses every other type."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        }
        if (module_name, global_name) in known:
            return known[module_name, global_name]
        if module_name == "torch" and global_name in STORAGES:
            return STORAGES[global_name]
        raise UnreadableCheckpoint(f"the checkpoint names {module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that an id ('storage', type, key, device, size, view) stands for."""
        return _Storage(key=pid[2], dtype=pid[1])


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _plain(stream: IO[bytes]) -> Any:
    """Read one pickle that holds only numbers, texts, lists and dictionaries."""
    return _TensorUnpickler(stream).load()


def _read_storage(stream: IO[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    (count,) = struct.unpack("<q", stream.read(8))
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype)


def _view(tensor: _Tensor, values: dict[str, NDArray[Any]]) -> NDArray[Any]:
    stored = values[tensor.storage.key]
    size = stored.itemsize
    strided = np.lib.stride_tricks.as_strided(
        stored[tensor.offset :], tensor.shape, [step * size for step in tensor.strides]
    )
    return np.array(strided)
