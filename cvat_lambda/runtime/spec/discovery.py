"""Finding function folders: a folder with a function.yaml, anywhere below the folders given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.spec.function_file import NVIDIA_GPU, gpu_resources, read_document

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv", "common"})
FUNCTION_FILE: Final = "function.yaml"
GPU_FILE: Final = "function-gpu.yaml"
FUNCTION_FILES: Final = frozenset({FUNCTION_FILE, GPU_FILE})


def find_function_folders(roots: Iterable[Path]) -> list[Path]:
    """Return the function folders below the roots (a root may be one itself), sorted, once each."""
    found: set[Path] = set()
    for root in roots:
        for path, folders, files in os.walk(root.resolve()):
            if FUNCTION_FILE in files:
                found.add(Path(path))
                folders.clear()  # what lies inside a function belongs to it
            else:
                folders[:] = [
                    name for name in folders if name not in _SKIPPED and not name.startswith(".")
                ]
    return sorted(found)


def choose_file(folder: Path, *, gpu: bool) -> Path:
    """Return the function file to serve: the GPU variant when asked for and there."""
    variant = folder / GPU_FILE
    return variant if gpu and variant.exists() else folder / FUNCTION_FILE


def choose_file_for_machine(folder: Path, *, nvidia: bool) -> Path:
    """Return the function file that fits a machine with or without an NVIDIA device.

    That is the GPU variant where its limits ask for just that device: one that is made for another
    vendor's GPU would not find it. Raises FunctionBroken when the variant cannot be read.
    """
    variant = folder / GPU_FILE
    if nvidia and variant.exists() and NVIDIA_GPU in gpu_resources(read_document(variant)):
        return variant
    return folder / FUNCTION_FILE


def file_chooser(gpu: bool | None) -> Callable[[Path], Path]:
    """Return what chooses a folder's file: as told, or for None as fits this machine."""
    if gpu is not None:
        return lambda folder: choose_file(folder, gpu=gpu)
    nvidia = has_nvidia_gpu()
    return lambda folder: choose_file_for_machine(folder, nvidia=nvidia)


def has_nvidia_gpu() -> bool:
    """Whether this machine shows an NVIDIA device."""
    return Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/gpus").is_dir()
