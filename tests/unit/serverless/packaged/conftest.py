"""Let the tests import modules of function folders, each under its own name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SERVERLESS = Path(__file__).resolve().parents[4] / "serverless"
if str(SERVERLESS) not in sys.path:
    sys.path.insert(0, str(SERVERLESS))


def load(folder: str, name: str) -> ModuleType:
    """Import a module of a function folder."""
    path = SERVERLESS / "openvino" / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses need the module in sys.modules
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def siamese() -> ModuleType:
    """The tracker's model."""
    return load("cvat_lambda/siamese_mobilenetv2", "model")


@pytest.fixture(scope="session")
def centerface() -> ModuleType:
    """The face detector."""
    return load("centerface/face_attributes", "centerface")


@pytest.fixture(scope="session")
def movenet() -> ModuleType:
    """The pose estimator."""
    return load("google/movenet_thunder", "model")


@pytest.fixture(scope="session")
def reid() -> ModuleType:
    """The matcher."""
    return load("cvat_lambda/reid_mobilenetv2", "model")
