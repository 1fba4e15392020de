"""Rewriting of /opt/nuclio in paths, in every Python version that functions may request."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
LAUNCHED = """
import importlib.util, json, pathlib, sys
import glob, shutil, tempfile, tokenize  # what a worker may have imported before the rewrite
spec = importlib.util.spec_from_file_location("opt_nuclio", sys.argv[1])
opt_nuclio = importlib.util.module_from_spec(spec)
spec.loader.exec_module(opt_nuclio)
assert opt_nuclio.enter(sys.argv[2], "rewrite") == "rewrite"
import os, io
from pathlib import Path
seen = {}
for name, code in json.loads(sys.argv[3]).items():
    try:
        seen[name] = eval(code)
    except Exception as exc:
        seen[name] = repr(exc)
print(json.dumps(seen))
"""
FILE = "'/opt/nuclio/function.yaml'"
# Expressions that are evaluated in this order, and their values.
READING: dict[str, object] = {
    f"open({FILE}).read()": "a: 1\n",
    f"open(file={FILE}).read()": "a: 1\n",
    f"open({FILE}, mode='rb').read().decode()": "a: 1\n",
    f"io.open({FILE}.encode()).read()": "a: 1\n",
    f"io.open(Path({FILE})).read()": "a: 1\n",
    f"tokenize.open({FILE}).read()": "a: 1\n",
    f"Path({FILE}).read_text()": "a: 1\n",
    f"Path({FILE}).exists()": True,
    f"Path({FILE}).is_file()": True,
    f"Path({FILE}).stat().st_size": 5,
    "Path('/opt/nuclio/nothing').exists()": False,
    "sorted(path.name for path in Path('/opt/nuclio').iterdir())": ["function.yaml", "linked"],
    "sorted(path.name for path in Path('/opt/nuclio').glob('*.yaml'))": ["function.yaml"],
    "glob.glob('/opt/nuclio/*.yaml')": ["/opt/nuclio/function.yaml"],
    "os.path.isfile(" + FILE + ")": True,
    f"os.stat(path={FILE}).st_size": 5,
    "os.stat(0) is not None": True,  # a file descriptor
    "os.listdir() == os.listdir(None) == os.listdir('.')": True,
    "[entry.name for entry in os.scandir(path='/opt/nuclio') if entry.is_file()]": [
        "function.yaml"
    ],
    "[names for _, _, names in os.walk('/opt/nuclio')]": [["function.yaml"]],
    "open(os.path.realpath('/opt/nuclio/linked/word')).read()": "shared",
    "open(Path('/opt/nuclio/linked/word').resolve()).read()": "shared",
    "Path('/opt/nuclio-other').exists()": False,
    "os.stat in os.supports_follow_symlinks": True,
}
WRITING: dict[str, object] = {
    "os.makedirs('/opt/nuclio/out/deep', exist_ok=True)": None,
    "os.makedirs('/opt/nuclio/out/deep', exist_ok=True) or 1": 1,
    "os.mkdir(path='/opt/nuclio/made', mode=0o755)": None,
    "os.rename(src='/opt/nuclio/made', dst='/opt/nuclio/renamed')": None,
    "Path('/opt/nuclio/out/file').write_text('text')": 4,
    "os.replace('/opt/nuclio/out/file', '/opt/nuclio/out/deep/file')": None,
    "shutil.copy('/opt/nuclio/out/deep/file', '/opt/nuclio/copy')": "/opt/nuclio/copy",
    "Path('/opt/nuclio/copy').rename('/opt/nuclio/moved').name": "moved",
    "os.symlink('/opt/nuclio/moved', '/opt/nuclio/link')": None,
    "open('/opt/nuclio/link').read()": "text",
    "os.remove('/opt/nuclio/link')": None,
    "Path('/opt/nuclio/renamed').rmdir()": None,
    "shutil.rmtree('/opt/nuclio/out')": None,
    "Path('/opt/nuclio/touched').touch()": None,
    "Path('/opt/nuclio/touched').unlink()": None,
}


def interpreter(version: str) -> str:
    """Return a Python of this version. Skip the test if the machine has none."""
    running = "{}.{}".format(*sys.version_info[:2])
    if version == running:
        return sys.executable
    name = f"python{version}"
    places: list[str | Path] = [shutil.which(name) or name]
    places += Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")
    for place in places:
        # pyenv has shims for inactive versions, too
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([place, "-c", ""], capture_output=True).returncode == 0:
                return str(place)
    pytest.skip(f"Python {version} is not on this machine")


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_every_function_of_python_that_takes_a_path_follows_opt_nuclio(
    tmp_path: Path, version: str
) -> None:
    python = interpreter(version)
    folder = tmp_path / "functions" / "one"
    folder.mkdir(parents=True)
    (folder / "function.yaml").write_text("a: 1\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "word").write_text("shared")
    (folder / "linked").symlink_to("../../shared")  # like the shared code under serverless/
    expected = {**READING, **WRITING}
    module = REPOSITORY / "cvat_lambda" / "runtime" / "worker" / "opt_nuclio.py"
    codes = json.dumps({code: code for code in expected})
    done = subprocess.run(
        [python, "-I", "-c", LAUNCHED, str(module), str(folder), codes],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["function.yaml", "linked", "moved"]
