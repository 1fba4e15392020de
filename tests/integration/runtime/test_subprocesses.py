from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cvat_lambda.runtime.cancellation import cancellable, interruptible, pause
from cvat_lambda.runtime.errors import Cancelled
from cvat_lambda.runtime.paths import locked
from cvat_lambda.runtime.processes.subprocesses import run_child
from tests.integration.runtime.harness import wait_for_exit
from tests.waiting import wait_for

PATH = {"PATH": os.environ["PATH"]}
# It writes its pid, starts another process that does the same, and keeps running.
TWO = "sh -c 'echo $$ >>pids; exec sleep 300' & echo $$ >>pids; sleep 300"


def pids(folder: Path) -> list[int]:
    """Return the two pids when both are written."""
    written = wait_for("both pids", lambda: _words(folder / "pids"), lambda words: len(words) == 2)
    return [int(number) for number in written]


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def test_output_is_passed_on_line_by_line_with_the_status(tmp_path: Path) -> None:
    told: list[str] = []
    script = "echo one; echo two >&2; printf 'h\\303\\251\\377'; pwd; exit 3"
    done = run_child(["sh", "-c", script], env=PATH, cwd=tmp_path, on_line=told.append)
    assert told == ["one", "two", f"hé�{tmp_path}"]
    assert (done.status, done.lines) == (3, tuple(told))


def test_command_gets_the_given_variables_and_no_input() -> None:
    done = run_child(["sh", "-c", "cat; env"], env={**PATH, "A": "b"})
    seen = {line.partition("=")[0] for line in done.lines}
    assert "A=b" in done.lines
    assert seen <= {"A", "PATH", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}


def test_missing_command_is_reported() -> None:
    done = run_child(["nothing-of-that-name"], env=PATH)
    assert (done.status, "nothing-of-that-name cannot be started" in done.lines[0]) == (127, True)


def test_status_of_a_killed_command_names_the_signal() -> None:
    assert run_child(["sh", "-c", "kill -9 $$"], env=PATH).status == 128 + 9


def test_descendants_of_an_ended_command_are_killed(tmp_path: Path) -> None:
    left = "echo $$ >pid; while :; do echo more; sleep 0.01; done"
    script = f"sh -c '{left}' & until [ -s pid ]; do sleep 0.01; done; echo done"
    done = run_child(["sh", "-c", script], env=PATH, cwd=tmp_path)
    assert (done.status, "done" in done.lines) == (0, True)
    wait_for_exit([int((tmp_path / "pid").read_text())])


def test_cancelled_command_ends_with_its_descendants(tmp_path: Path) -> None:
    cancel = threading.Event()
    raised: list[type] = []

    def run() -> None:
        with cancellable(cancel), pytest.raises(Cancelled) as caught:
            run_child(["sh", "-c", TWO], env=PATH, cwd=tmp_path)
        raised.append(caught.type)

    thread = threading.Thread(target=run)
    thread.start()
    numbers = pids(tmp_path)
    cancel.set()
    thread.join(60)
    assert raised == [Cancelled]
    wait_for_exit(numbers)


def test_command_and_descendants_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from cvat_lambda.runtime.processes.subprocesses import run_child\n"
        "run_child(['sh', '-c', sys.argv[1]], env={'PATH': sys.argv[2]})"
    )
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", code, TWO, PATH["PATH"]]
    starter = subprocess.Popen(command, cwd=tmp_path, env={**PATH, "PYTHONPATH": str(root)})
    numbers = pids(tmp_path)
    starter.kill()
    starter.wait()
    wait_for_exit(numbers)


def test_wait_for_a_lock_is_cancelled(tmp_path: Path) -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with (
        locked(tmp_path / "lock"),
        cancellable(cancel),
        pytest.raises(Cancelled),
        locked(tmp_path / "lock"),
    ):
        pass


def test_blocked_work_is_abandoned_when_cancelled() -> None:
    cancel, release = threading.Event(), threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with cancellable(cancel), pytest.raises(Cancelled):
        interruptible(release.wait)
    release.set()


def test_work_without_cancellation_runs_to_its_end() -> None:
    pause(0.01)
    assert interruptible(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)
