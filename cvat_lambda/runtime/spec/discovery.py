"""Find function folders: folders with a function file, at any depth below some root folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.errors import FunctionBroken
from cvat_lambda.runtime.spec.function_file import NVIDIA_GPU, gpu_resources, read_document

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv", "common", "lost+found"})
FUNCTION_FILE: Final = "function.yaml"
GPU_FILE: Final = "function-gpu.yaml"
# If a folder has both, the first one is used.
_PLAIN_FILES: Final = (FUNCTION_FILE, "function.yml")
_GPU_FILES: Final = (GPU_FILE, "function-gpu.yml")
FUNCTION_FILES: Final = frozenset({*_PLAIN_FILES, *_GPU_FILES})

ChooseFile = Callable[[Path], Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found below the root folders."""

    folders: tuple[Path, ...]  # of functions, sorted
    unreadable: tuple[tuple[Path, str], ...]  # folders that could not be listed, and why


def discover(roots: Iterable[Path]) -> Discovery:
    """Return the function folders below the roots. A root may be a function folder itself."""
    found: set[Path] = set()
    unreadable: dict[Path, str] = {}

    def record(error: OSError) -> None:
        unreadable[Path(error.filename)] = error.strerror or type(error).__name__

    for root in roots:
        for path, folders, files in os.walk(root.resolve(), onerror=record):
            if FUNCTION_FILES.intersection(files):
                found.add(Path(path))
                folders.clear()  # folders inside a function folder belong to the function
            else:
                folders[:] = [
                    name for name in folders if name not in _SKIPPED and not name.startswith(".")
                ]
    return Discovery(folders=tuple(sorted(found)), unreadable=tuple(sorted(unreadable.items())))


def plain_file(folder: Path) -> Path | None:
    """Return the function file for the CPU, if the folder has one."""
    return _first(folder, _PLAIN_FILES)


def choose_file(folder: Path, *, gpu: bool) -> Path:
    """Return the function file to use: with `gpu` the one for the GPU if there is one.

    Raise FunctionBroken if the folder has none, or has only one for the GPU and `gpu` is False.
    """
    variant = _first(folder, _GPU_FILES)
    if gpu and variant is not None:
        return variant
    return _plain_or_fault(folder, variant)


def choose_file_for_machine(folder: Path, *, nvidia: bool) -> Path:
    """Return the function file that fits a machine with or without an NVIDIA device.

    The one for the GPU is taken if its limits name an NVIDIA GPU: a function for another vendor's
    GPU would not find its device. Raise FunctionBroken if that file cannot be read, or if it is
    the only one and does not fit.
    """
    variant = _first(folder, _GPU_FILES)
    if nvidia and variant is not None and NVIDIA_GPU in gpu_resources(read_document(variant)):
        return variant
    return _plain_or_fault(folder, variant)


def file_chooser(gpu: bool | None) -> ChooseFile:
    """Return the function that chooses a folder's file; for None the one that fits this machine."""
    if gpu is not None:
        return lambda folder: choose_file(folder, gpu=gpu)
    nvidia = has_nvidia_gpu()
    return lambda folder: choose_file_for_machine(folder, nvidia=nvidia)


def has_nvidia_gpu() -> bool:
    """Return whether this machine has an NVIDIA device."""
    return Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/gpus").is_dir()


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _plain_or_fault(folder: Path, variant: Path | None) -> Path:
    file = plain_file(folder)
    if file is not None:
        return file
    if variant is None:
        raise FunctionBroken(f"{folder} is not a function folder: it has no {FUNCTION_FILE}")
    raise FunctionBroken(
        f"{folder.name} has {variant.name} only, for a GPU: use --gpu to run it all the same "
        "(serve and fetch: --gpu yes)"
    )
