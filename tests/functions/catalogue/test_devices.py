"""The choice of a function's device and precision, tested without a GPU."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function

pytestmark = pytest.mark.models

REID = "openvino/omz/person_reidentification_retail_0277"


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    # Import a part of the package: serverless/ may be importable and has a folder of the same name.
    pytest.importorskip("openvino.opset13", reason="its devices need OpenVINO")
    stand_ins = importlib.import_module("tests.functions.catalogue.stand_ins.reidentification")
    made: Path = stand_ins.make(tmp_path / "reid.xml")
    return made


def start(monkeypatch: pytest.MonkeyPatch, network_file: Path, device: str) -> Function:
    monkeypatch.setenv("MODEL_PATH", str(network_file))
    monkeypatch.setenv("OPENVINO_DEVICE", device)
    function = Function(REID)
    function.start()
    return function


@pytest.mark.parametrize("device", ["GPU", "AUTO:GPU,CPU"])
def test_without_an_intel_gpu_the_cpu_does_the_work_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    network_file: Path,
    device: str,
) -> None:
    openvino: Any = importlib.import_module("openvino")
    if "GPU" in openvino.Core().available_devices:
        pytest.skip("this machine has a GPU that OpenVINO knows")
    with caplog.at_level(logging.WARNING):
        function = start(monkeypatch, network_file, device)
    assert function.logged == ["The model runs on CPU"]
    if device == "GPU":  # AUTO may choose the CPU by itself, where OpenCL is installed
        [line] = caplog.messages
        assert line.startswith("OpenVINO cannot use GPU, the CPU is used instead: ")
        assert len(line) > len("OpenVINO cannot use GPU, the CPU is used instead: ")
    matcher = function.context.user_data.model
    picture = np.zeros((300, 200, 3), np.uint8)
    embeddings = matcher.embed(picture, [{"points": [0, 0, 100, 200]}])
    assert np.isfinite(embeddings).all()
    assert embeddings.shape[0] == 1


def test_a_device_unknown_to_openvino_is_an_error(
    monkeypatch: pytest.MonkeyPatch, network_file: Path
) -> None:
    with pytest.raises(RuntimeError, match="TPU"):
        start(monkeypatch, network_file, "TPU")


@pytest.fixture
def runtime() -> ModuleType:
    pytest.importorskip("torch", reason="its precision needs PyTorch")
    Function("pytorch/shiyinzhang/iog")  # makes `common` importable
    return importlib.import_module("common.torch_runtime")


@pytest.mark.parametrize(
    ("device", "chosen", "expected"),
    [
        ("cpu", "", "float32"),
        ("cuda", "", "float16"),
        ("cpu", "bfloat16", "bfloat16"),
        ("cuda", "float32", "float32"),
    ],
)
def test_the_precision_depends_on_the_device_and_the_setting(
    monkeypatch: pytest.MonkeyPatch, runtime: ModuleType, device: str, chosen: str, expected: str
) -> None:
    torch: Any = importlib.import_module("torch")
    monkeypatch.setenv("TORCH_PRECISION", chosen)
    assert runtime.precision(torch.device(device)) == getattr(torch, expected)


def test_an_unknown_precision_is_an_error(
    monkeypatch: pytest.MonkeyPatch, runtime: ModuleType
) -> None:
    torch: Any = importlib.import_module("torch")
    monkeypatch.setenv("TORCH_PRECISION", "float8")
    with pytest.raises(ValueError, match="TORCH_PRECISION is 'float8'; use one of float32"):
        runtime.half_precision(torch.device("cpu"))


def test_what_runs_in_float32_on_cuda_is_not_cut_to_tf32(
    monkeypatch: pytest.MonkeyPatch, runtime: ModuleType
) -> None:
    torch: Any = importlib.import_module("torch")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # PyTorch's default
    monkeypatch.setenv("TORCH_DEVICE", "cuda")
    assert runtime.torch_device() == torch.device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
