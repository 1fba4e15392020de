"""The wheel holds what the checkout holds: an installed app has no other files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
NOT_SHIPPED = ("__pycache__", "*.pyc")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel built from a copy, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        shutil.copy(REPOSITORY / name, source / name)
    ignore = shutil.ignore_patterns(*NOT_SHIPPED)
    shutil.copytree(REPOSITORY / "cvat_lambda", source / "cvat_lambda", ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(source)]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_every_file_of_the_package_is_in_the_wheel(wheel_names: set[str]) -> None:
    package = REPOSITORY / "cvat_lambda"
    files = {
        path.relative_to(REPOSITORY).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(files) > 200
    assert files - wheel_names == set()


def test_nothing_else_is_in_the_wheel(wheel_names: set[str]) -> None:
    places = {name.partition("/")[0] for name in wheel_names}
    assert {place for place in places if not place.endswith(".dist-info")} == {"cvat_lambda"}
