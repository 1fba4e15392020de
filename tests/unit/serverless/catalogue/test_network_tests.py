"""The functions that each test module of the catalogue tests, and the proofs of passed tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.functions.__main__ import (
    CATALOGUE,
    FIXTURES,
    REPOSITORY,
    SERVED,
    environment_groups,
    folders,
)
from tests.functions.catalogue.stand_ins.__main__ import STAND_INS
from tests.functions.network_tests import TESTED, modules_of
from tests.functions.proofs import Proofs


def test_every_test_module_and_every_function_with_stand_ins_is_in_the_table() -> None:
    assert sorted(TESTED) == sorted(path.name for path in CATALOGUE.glob("test_*.py"))
    assert {name for names in TESTED.values() for name in names} == set(STAND_INS)


def test_each_module_but_that_of_devices_runs_in_one_environment() -> None:
    """The tests of devices need OpenVINO or PyTorch; each of them is skipped without its own."""
    runs = [module for group in environment_groups(folders()) for module in modules_of(group)]
    assert sorted(runs) == sorted([*TESTED, "test_devices.py"])


def test_proof_whose_name_is_longer_than_a_file_name_is_kept(tmp_path: Path) -> None:
    proofs = Proofs(folder=tmp_path)
    name = f"networks of {', '.join(folders())}"
    assert len(name) > 255
    proofs.keep(name, "digest")
    assert proofs.holds(name, "digest")
    assert not proofs.holds(name, "another digest")


def test_proof_that_failed_after_it_had_passed_is_made_again(tmp_path: Path) -> None:
    """A proof that failed with --all was "unchanged since it passed" in the next run."""
    proofs = Proofs(folder=tmp_path)
    proofs.keep("yolo", "digest")
    proofs.keep("sam", "digest")
    proofs.drop("yolo")
    assert not proofs.holds("yolo", "digest")
    assert proofs.holds("sam", "digest")
    proofs.drop("yolo")


@pytest.mark.parametrize("folder", SERVED, ids=lambda folder: folder.name)
def test_proof_of_served_functions_is_made_again_when_a_module_of_its_tests_changes(
    folder: Path,
) -> None:
    inputs = {folder, *SERVED[folder][1], *FIXTURES}
    imports = re.compile(r"^ *from (tests\.\S+) import \(?\s*(\w+)", re.MULTILINE)
    used = set()
    for test in folder.glob("*.py"):
        for module, name in imports.findall(test.read_text(encoding="utf-8")):
            place = REPOSITORY.joinpath(*module.split("."))
            used.add(place / name if place.is_dir() else place.with_suffix(".py"))
    assert used
    assert {file for file in used if not inputs & {file, *file.parents}} == set()
