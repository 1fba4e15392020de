from __future__ import annotations

import os
from pathlib import Path

import pytest

from cvat_lambda.runtime.deploy.prepare import worker_environment
from cvat_lambda.runtime.errors import FunctionBroken, NotPrepared
from cvat_lambda.runtime.spec.discovery import (
    choose_file,
    choose_file_for_machine,
    discover,
)
from cvat_lambda.runtime.spec.function_file import parse_function
from cvat_lambda.runtime.weights.licences import LicencePolicy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("a/b/one", "a/two/nuclio", "common/three", ".hidden/four", "a/b/one/inner"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "function.yaml").write_text("")
    (tmp_path / "a" / "empty").mkdir()
    return tmp_path


def test_function_folders_are_found_at_any_depth_but_not_inside_another_one(root: Path) -> None:
    found = [path.relative_to(root).as_posix() for path in discover([root]).folders]
    assert found == ["a/b/one", "a/two/nuclio"]


def test_folder_that_is_found_twice_is_listed_once(root: Path) -> None:
    assert len(discover([root, root / "a" / "b" / "one", root / "a"]).folders) == 2


def test_gpu_variant_is_chosen_if_it_exists(root: Path) -> None:
    folder = root / "a" / "b" / "one"
    assert choose_file(folder, gpu=True).name == "function.yaml"
    (folder / "function-gpu.yaml").write_text("")
    assert choose_file(folder, gpu=True).name == "function-gpu.yaml"
    assert choose_file(folder, gpu=False).name == "function.yaml"


@pytest.mark.parametrize(
    ("limits", "nvidia", "chosen"),
    [
        ("{nvidia.com/gpu: 1}", True, "function-gpu.yaml"),
        ("{nvidia.com/gpu: 1}", False, "function.yaml"),
        # A function for an Intel GPU finds no device on a machine with an NVIDIA GPU.
        ("{gpu.intel.com/i915: 1}", True, "function.yaml"),
        ("{memory: 4Gi}", True, "function.yaml"),
        ("", True, "function.yaml"),
    ],
)
def test_gpu_variant_for_another_device_is_not_chosen_automatically(
    root: Path, limits: str, nvidia: bool, chosen: str
) -> None:
    folder = root / "a" / "b" / "one"
    assert choose_file_for_machine(folder, nvidia=nvidia).name == "function.yaml"
    (folder / "function-gpu.yaml").write_text(f"spec: {{resources: {{limits: {limits}}}}}")
    assert choose_file_for_machine(folder, nvidia=nvidia).name == chosen
    assert (
        choose_file(folder, gpu=True).name == "function-gpu.yaml"
    )  # `gpu=True` chooses it for any device


def test_unreadable_gpu_variant_raises_an_error_on_a_gpu_machine(root: Path) -> None:
    folder = root / "a" / "b" / "one"
    (folder / "function-gpu.yaml").write_text("[")
    with pytest.raises(FunctionBroken, match=r"function-gpu\.yaml cannot be read"):
        choose_file_for_machine(folder, nvidia=True)
    assert choose_file_for_machine(folder, nvidia=False).name == "function.yaml"


@pytest.mark.parametrize("name", ["function-gpu.yaml", "function-gpu.yml"])
def test_folder_with_a_gpu_variant_only_is_found_and_needs_the_gpu_option(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / name).write_text("spec: {resources: {limits: {nvidia.com/gpu: 1}}}")
    assert discover([tmp_path]).folders == (folder,)
    assert choose_file(folder, gpu=True).name == name
    assert choose_file_for_machine(folder, nvidia=True).name == name
    message = f"x has {name} only, for a GPU: use --gpu"
    with pytest.raises(FunctionBroken, match=message):
        choose_file(folder, gpu=False)
    with pytest.raises(FunctionBroken, match=message):
        choose_file_for_machine(folder, nvidia=False)


def test_function_yml_is_a_function_file_and_function_yaml_comes_first(tmp_path: Path) -> None:
    (tmp_path / "function.yml").write_text("")
    assert discover([tmp_path]).folders == (tmp_path,)
    assert choose_file(tmp_path, gpu=True).name == "function.yml"
    (tmp_path / "function.yaml").write_text("")
    assert choose_file(tmp_path, gpu=False).name == "function.yaml"


@pytest.mark.parametrize(
    ("limits", "on_gpu"),
    [
        ({"nvidia.com/gpu": 1}, True),
        ({"gpu.intel.com/i915": "1"}, True),
        ({"nvidia.com/mig-1g.5gb": 1}, True),
        ({"cpu": 2, "memory": "4Gi"}, False),
        (None, False),
    ],
)
def test_function_is_on_a_gpu_if_its_limits_name_one(
    tmp_path: Path, limits: object, on_gpu: bool
) -> None:
    spec = {"handler": "main:handler", "resources": {"limits": limits}}
    document = {"metadata": {"name": "one"}, "spec": spec}
    assert parse_function(document, tmp_path).on_gpu is on_gpu


def test_worker_gets_variables_of_the_machine_and_the_function_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    env = [
        {"name": "PYTHONPATH", "value": "/opt/nuclio/sam"},
        {"name": "OMP_NUM_THREADS", "value": "2"},
    ]
    document = {"metadata": {"name": "one"}, "spec": {"env": env, "handler": "main:handler"}}
    made = worker_environment(parse_function(document, tmp_path), tmp_path / "weights")
    assert "SECRET_KEY" not in made
    assert made["CUDA_VISIBLE_DEVICES"] == "1"
    assert made["OMP_NUM_THREADS"] == "2"
    assert made["PYTHONPATH"] == f"{tmp_path}:{tmp_path}/sam"
    assert made["CVAT_LAMBDA_WEIGHTS"] == str(tmp_path / "weights")
    assert (made["NUCLIO_FUNCTION_NAME"], made["NUCLIO_HANDLER"]) == ("one", "main:handler")


@pytest.mark.parametrize(("workers", "share"), [(1, "6"), (2, "3"), (4, "1"), (9, "1")])
def test_threads_of_a_worker_are_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, share: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(6)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    triggers = {"http": {"kind": "http", "numWorkers": workers}}
    document = {
        "metadata": {"name": "one"},
        "spec": {"handler": "main:handler", "triggers": triggers},
    }
    made = worker_environment(parse_function(document, tmp_path), None)
    assert (made["OMP_NUM_THREADS"], made["OMP_WAIT_POLICY"]) == (share, "PASSIVE")


def test_variables_of_administrator_and_function_override_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CVAT_LAMBDA_THREADS", "5")
    env = [{"name": "OMP_WAIT_POLICY", "value": "ACTIVE"}]
    document = {"metadata": {"name": "one"}, "spec": {"env": env, "handler": "main:handler"}}
    made = worker_environment(parse_function(document, tmp_path), None)
    assert made["OMP_NUM_THREADS"] == "7"
    assert made["CVAT_LAMBDA_THREADS"] == "5"
    assert made["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("licence", ["MIT", "apache-2.0", "BSD-3-Clause", "CC0-1.0"])
def test_permissive_licence_needs_no_acceptance(licence: str) -> None:
    LicencePolicy().check("a.bin", licence)


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "CC-BY-NC-4.0", "none stated", None])
def test_other_licence_needs_acceptance(licence: str | None) -> None:
    with pytest.raises(NotPrepared, match="accept it"):
        LicencePolicy().check("a.bin", licence)
    LicencePolicy([licence or "unstated"]).check("a.bin", licence)
