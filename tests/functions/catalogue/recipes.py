"""Recipes that give the same random weights and pictures on every machine, for any implementation
of a network.

Weights depend on a parameter's name and shape only, so the reference package and our network get
equal weights without a checkpoint file. NumPy's legacy generator is used because its streams
never change.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "data" / "catalogue"


def fixture(name: str) -> dict[str, Any]:
    """Read a fixture of tests/data/catalogue."""
    content: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return content


def official_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of an official checkpoint (see `source` in the file)."""
    return {key: tuple(shape) for key, shape in fixture(name)["parameters"].items()}


def random_weights(
    shapes: Mapping[str, Sequence[int]], gains: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Fill parameters by name: convolutions keep the scale of their input, norms stay near one.

    `gains` multiplies the parameters whose names end so (a residual branch's last norm, an output
    layer), to keep the activations of a deep network in a range where an error would show.
    """
    weights = {name: _fill(name, tuple(shape)) for name, shape in shapes.items()}
    for name, value in weights.items():
        for ending, gain in (gains or {}).items():
            if name.endswith(ending):
                weights[name] = (value * np.float32(gain)).astype(value.dtype)
    return weights


def _fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    if len(shape) == 1:
        # a norm's scale is near one; its shift and every bias are near zero
        centre = 1.0 if name.endswith("weight") else 0.0
        return (centre + random.uniform(-0.1, 0.1, shape)).astype(np.float32)
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
    return (random.standard_normal(shape) / math.sqrt(max(fan_in, 1))).astype(np.float32)


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return an RGB picture of soft random blobs, which remain visible after resizing."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.float64)
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.clip(fine + random.uniform(-16, 16, fine.shape), 0, 255).astype(np.uint8)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the root mean square difference, in standard deviations of the expected values."""
    got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return float(np.sqrt(np.mean((got - expected) ** 2)) / expected.std())


def samples(values: np.ndarray, count: int = 64) -> list[float]:
    """Return evenly spaced values of an array, for a fixture."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    places = np.linspace(0, flat.size - 1, min(count, flat.size)).astype(np.int64)
    return [float(value) for value in flat[places]]
