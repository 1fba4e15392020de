"""The README's first command, `script/demo`, in a new home folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageChops

from tests.conftest import IMAGES, REPOSITORY
from tests.waiting import wait_for

# The first start builds the function's environment and downloads its weights.
pytestmark = [pytest.mark.models, pytest.mark.timeout(1500)]

DEMO = str(REPOSITORY / "script" / "demo")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a new user, without settings of this test run."""
    mine = ("CVAT_LAMBDA_", "DJANGO_", "DATABASE_URL", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    cache = os.environ.get("CVAT_LAMBDA_CACHE")
    return {
        **kept,
        "CVAT_LAMBDA_HOME": str(tmp_path / "home"),
        **({"CVAT_LAMBDA_CACHE": cache} if cache else {}),
    }


def running_processes(home: Path) -> list[str]:
    """Return the command lines of running processes that use the demo's home folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        if (process.info["environ"] or {}).get("CVAT_LAMBDA_HOME") == str(home):
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def test_demo_annotates_photographs_and_leaves_no_process_behind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "requests.py").write_text("raise ImportError('the caller's folder was searched')")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [DEMO, "--once", "--minimal", "--port", str(port), "--platform-port", "0"],
            env=environment,
            cwd=tmp_path,  # the demo must run from any folder
            capture_output=True,
            text=True,
            timeout=1400,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Port {port} is taken" in done.stdout
    assert "4 frames done, 0 failed" in done.stdout
    assert re.search(r"\d/4 frames", done.stdout)
    assert re.search(r"person: [2-9]", done.stdout)
    pictures = Path(re.search(r"what was found: (.+)", done.stdout)[1])  # type: ignore[index]
    drawn = Image.open(next(pictures.glob("*astronaut*"))).convert("RGB")
    photograph = Image.open(IMAGES / "astronaut.png").convert("RGB")
    assert ImageChops.difference(drawn, photograph).getbbox() is not None
    assert "Open http" not in done.stdout  # the server has ended
    assert running_processes(tmp_path / "home") == []


@pytest.fixture
def serving(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A demo that has annotated its photographs and still serves its pages."""
    process = subprocess.Popen(
        [DEMO, "--minimal", "--port", "0", "--platform-port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        said = ""
        for line in process.stdout:
            said += line
            if "Press Ctrl-C" in line:
                break
        assert re.search(r"Open http://127\.0\.0\.1:\d+/ and log in as \S+", said)
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_the_end_of_all_processes(home: Path) -> None:
    wait_for(
        "the end",
        lambda: running_processes(home),
        lambda found: found == [],
        timeout_s=30,
        pause_s=0.1,
    )


def test_ctrl_c_stops_everything_that_the_demo_started(
    serving: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert running_processes(tmp_path / "home") != []
    os.killpg(serving.pid, signal.SIGINT)
    assert serving.stdout is not None
    assert "Stopped." in serving.stdout.read()
    assert serving.wait(180) == 0
    wait_for_the_end_of_all_processes(tmp_path / "home")


def test_processes_of_a_killed_demo_end(serving: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(serving.pid, signal.SIGKILL)
    wait_for_the_end_of_all_processes(tmp_path / "home")
