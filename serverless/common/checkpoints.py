"""Reads checkpoints from untrusted sources without running code that they name.

A pickle may name any callable. The unpickler of this module allows the constructors of arrays,
tensors and plain containers only. It replaces every other class, such as the training settings
that many checkpoints contain, by a `Placeholder`.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_NAMES_SHOWN = 5  # of missing or unexpected parameters, in an error's text

#: what a pickled NumPy array needs, under the names of NumPy 1 and of NumPy 2
_ARRAY_GLOBALS = {
    (f"numpy{core}.{module}", name)
    for core in (".core", "._core")
    for module, name in (
        ("multiarray", "_reconstruct"),
        ("multiarray", "scalar"),
        ("numeric", "_frombuffer"),
    )
} | {("numpy", "ndarray"), ("numpy", "dtype")}

_CONTAINER_GLOBALS = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "slice"),
    ("builtins", "bytearray"),
    ("__builtin__", "set"),
    ("__builtin__", "bytearray"),
}

_TENSOR_GLOBALS = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("torch", "device"),
}


class CheckpointError(Exception):
    """A checkpoint cannot be read, or does not fit the network that it is meant for."""


class Placeholder:
    """An inert stand-in for a class that a checkpoint names and that nobody needs to run the
    network.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Drop an item of a pickled mapping type."""

    def append(self, value: object) -> None:
        """Drop an item of a pickled sequence type."""

    def extend(self, values: object) -> None:
        """Drop items of a pickled sequence type."""


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows arrays, tensors and containers by name; the rest becomes
    `Placeholder`.
    """

    def find_class(self, module_name: str, global_name: str) -> Any:
        key = (module_name, global_name)
        if key in _ARRAY_GLOBALS:
            return super().find_class(_present_module(module_name), global_name)
        if key in _CONTAINER_GLOBALS | _TENSOR_GLOBALS or _is_tensor_type(*key):
            return super().find_class(module_name, global_name)
        return Placeholder


def _present_module(module_name: str) -> str:
    """Translate between the names that NumPy 1 and NumPy 2 give to their private core package."""
    private = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    return module_name.replace("numpy._core", "numpy.core").replace("numpy.core", private)


def _is_tensor_type(module_name: str, global_name: str) -> bool:
    """Tell whether a global is one of torch's storage or element types (`FloatStorage`,
    `float32`).
    """
    if module_name not in ("torch", "torch.storage"):
        return False
    if global_name.endswith("Storage"):
        return global_name.isidentifier()
    import torch

    return isinstance(getattr(torch, global_name, None), torch.dtype)


def read_pickle(path: Path) -> Any:
    """Read a pickle of arrays and containers, such as Detectron2's `.pkl` (some were written by
    Python 2).
    """
    try:
        with path.open("rb") as file:
            return RestrictedUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, TypeError) as exc:
        raise CheckpointError(
            f"the checkpoint {path.name!r} is not a readable pickle: {exc}"
        ) from exc


def read_torch(path: Path) -> Any:
    """Read a file of `torch.save`: with `weights_only`, else with the restricted unpickler."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        module = SimpleNamespace(Unpickler=RestrictedUnpickler, load=_load, __name__="restricted")
        try:
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)
        except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, TypeError) as exc:
            text = f"the checkpoint {path.name!r} is not a readable torch file: {exc}"
            raise CheckpointError(text) from exc
    except (RuntimeError, EOFError) as exc:
        text = f"the checkpoint {path.name!r} is not a torch file: {exc}"
        raise CheckpointError(text) from exc


def _load(file: Any, **options: Any) -> Any:
    return RestrictedUnpickler(file, **options).load()


def read_parameters(path: Path, *, within: str | None = None) -> OrderedDict[str, torch.Tensor]:
    """Read the named parameters of a checkpoint as tensors.

    `within` names the key under which a training checkpoint keeps them ("model", "net",
    "state_dict"); a file that is the bare mapping itself is accepted too.
    """
    import torch

    content = read_pickle(path) if path.suffix == ".pkl" else read_torch(path)
    if within is not None and isinstance(content, Mapping) and within in content:
        content = content[within]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the checkpoint {path.name!r} holds no mapping of parameters")
    parameters: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, value in content.items():
        if isinstance(value, np.ndarray | torch.Tensor):
            parameters[str(name)] = torch.as_tensor(value)
        elif isinstance(value, np.generic):
            parameters[str(name)] = torch.as_tensor(np.asarray(value))
    return parameters


def load_strictly(
    network: torch.nn.Module,
    parameters: Mapping[str, torch.Tensor],
    *,
    source: str,
    assign: bool = False,
) -> None:
    """Load parameters by name; every name and shape has to match, both ways.

    With `assign` the network keeps the given tensors instead of copies of them. It may then be on
    the device "meta", so that its parameters need no memory before.

    Raises `CheckpointError` that names the first few misfits.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in parameters.items()}
    misfits = [
        _misfit("missing", sorted(expected.keys() - given.keys())),
        _misfit("unexpected", sorted(given.keys() - expected.keys())),
        _misfit(
            "of another shape",
            [
                f"{name} {given[name]} instead of {shape}"
                for name, shape in expected.items()
                if given.get(name, shape) != shape
            ],
        ),
    ]
    text = "; ".join(misfit for misfit in misfits if misfit)
    if text:
        raise CheckpointError(f"the checkpoint {source!r} does not fit this network: {text}")
    network.load_state_dict(dict(parameters), strict=True, assign=assign)


def _misfit(what: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return f"{len(names)} {what} ({shown})"
