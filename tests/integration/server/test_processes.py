from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cvat_lambda.server.processes import Child, ProcessFailed, free_port, wait_for_port
from tests import ports
from tests.conftest import REPOSITORY
from tests.waiting import has_ended, wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_free_port_returns_the_given_port_if_it_is_free() -> None:
    wished = ports.free_port()
    assert free_port(wished) == wished


def test_free_port_returns_another_port_if_the_given_one_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert free_port(taken) != taken


def test_child_that_ended_raises_an_error_with_its_status_and_last_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no disk left'); raise SystemExit(3)"]
    child = Child.start("store", command, log=tmp_path / "log")
    child.process.wait(180)
    with pytest.raises(ProcessFailed, match=r"(?s)store ended with status 3.*no disk left"):
        child.require_alive()


def test_waiting_for_a_port_of_a_child_that_ended_raises_an_error(tmp_path: Path) -> None:
    child = Child.start("web", [sys.executable, "-c", "pass"], log=tmp_path / "log")
    with pytest.raises(ProcessFailed, match="web ended with status 0"):
        wait_for_port(ports.closed_port(), child=child)


def test_stop_of_a_child_ends_its_descendants() -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(60)']); print(p.pid, flush=True); p.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    child = Child(name="tree", process=process, log=None)
    assert process.stdout is not None
    with process.stdout:
        grandchild = psutil.Process(int(process.stdout.readline()))
        child.stop()
    psutil.wait_procs([grandchild], timeout=180)
    assert has_ended(grandchild)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from cvat_lambda.server.processes import Child\n"
        f"child = Child.start('sleep', {SLEEP!r})\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_for("the end of the child", lambda: has_ended(child))


def test_process_that_starts_the_others_sets_up_no_django_apps() -> None:
    """It runs as long as the server. With all apps it would need 50 MB more memory."""
    code = (
        "import sys, cvat_lambda.server.__main__\n"
        "print([name for name in ('django.db', 'rest_framework', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
