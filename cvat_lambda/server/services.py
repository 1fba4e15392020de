"""The processes that make up a standalone server, started in order and stopped in reverse.

Redis (out of a wheel, or the one that ``CVAT_LAMBDA_REDIS_URL`` names), the function runtime, the
web server, RQ workers, and the watch that takes up stalled requests. All on loopback. No process
can be mistaken for another's: Redis listens on a socket in our folder, the web server inherits a
port that is bound here, and the runtime writes where it listens.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cvat_lambda.server.home import prepare_home
from cvat_lambda.server.processes import (
    Child,
    ProcessFailed,
    bound_socket,
    free_port,
    redis_command,
    wait_for_answer,
    wait_for_file,
    wait_for_socket,
)

LOOPBACK = "127.0.0.1"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is started, and where."""

    home: Path  # database, media, logs, Redis' files
    functions: tuple[Path, ...] = ()  # folders of functions; none: no runtime of our own
    only: tuple[str, ...] = ()  # ids of the functions to serve; none: all
    host: str = LOOPBACK  # address of the web server
    port: int = 8080  # of the web server, if it is free; 0: any
    platform_port: int = 8070  # of the runtime, if it is free; 0: any
    workers: int = 1  # RQ worker processes
    web_threads: int = 8


def web_command(listener: int, *, threads: int, folder: Path) -> list[str]:
    """The command of the web server: two processes that take connections from an open socket."""
    return [
        *(sys.executable, "-m", "gunicorn", "cvat_lambda.server.wsgi"),
        *("--bind", f"fd://{listener}", "--worker-tmp-dir", str(folder)),
        *("--worker-class", "gthread", "--workers", "2", "--threads", str(threads)),
        *("--timeout", "180", "--graceful-timeout", "3"),
    ]


def _reachable(host: str) -> str:
    """Return an address at which this machine reaches a server that listens on ``host``."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        return LOOPBACK if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


@dataclass(slots=True)
class Services:
    """A running standalone server. Use as a context manager."""

    options: Options
    say: Say = print
    url: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    _children: list[Child] = field(default_factory=list)
    _lock: IO[str] | None = None
    _sockets: Path | None = None

    def __enter__(self) -> Services:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything. Raise ProcessFailed with the last words of what does not come up."""
        self._take_home()
        self.environment = {
            **os.environ,
            "CVAT_LAMBDA_HOME": str(self.options.home),
            "DJANGO_SETTINGS_MODULE": "cvat_lambda.server.settings",
            "PYTHONUNBUFFERED": "1",
        }
        self._start_redis()
        self._start_runtime()
        self._collect_metrics()
        self._django("migrate", "--no-input")
        self._start_web()
        self._write_address()
        for number in range(self.options.workers):
            command = ["rqworker", "annotation"]
            command += ["--worker-class", "cvat_lambda.server.worker.LinkedWorker"]
            # Killed with us, not asked to finish: what it runs is resumed at the next start.
            self._child(f"worker-{number}", [*self._manage(), *command], death=signal.SIGKILL)
        self._child("recovery", [*self._manage(), "recover_requests", "--loop", "10"])

    def stop(self) -> None:
        """Stop everything that was started: all are told at once, the first started goes last."""
        for child in reversed(self._children[1:]):
            child.ask_to_stop()
        while self._children:
            self._children.pop().stop()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def require_alive(self) -> None:
        """Raise ProcessFailed if a process is gone."""
        for child in self._children:
            child.require_alive()

    def run_until_interrupted(self) -> None:
        """Watch the processes until Ctrl-C (KeyboardInterrupt). Raise ProcessFailed."""
        while True:
            self.require_alive()
            time.sleep(0.5)

    def _take_home(self) -> None:
        """One server a home folder: two would share one Redis file and each other's logs."""
        home = self.options.home
        try:
            prepare_home(home)
            lock = open(home / "server.lock", "a+")  # noqa: SIM115 (held until we stop)
        except OSError as exc:
            raise ProcessFailed(f"the folder {home} cannot be used: {exc.strerror}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.seek(0)
            address = lock.read().strip()
            lock.close()
            where = f" at {address}" if address else ""
            raise ProcessFailed(
                f"a server already runs on {home}{where}; stop it, or set CVAT_LAMBDA_HOME"
            ) from exc
        lock.truncate(0)
        self._lock = lock

    def _write_address(self) -> None:
        assert self._lock is not None
        self._lock.write(self.url)
        self._lock.flush()

    def _manage(self) -> list[str]:
        return [sys.executable, "-m", "django"]

    def _child(
        self,
        name: str,
        command: list[str],
        *,
        death: signal.Signals = signal.SIGTERM,
        keep: tuple[int, ...] = (),
    ) -> Child:
        """Start a child in the home folder: no module lies there that could hide one of ours."""
        log = self.options.home / "logs" / f"{name}.log"
        log.unlink(missing_ok=True)
        child = Child.start(
            name,
            command,
            env=self.environment,
            log=log,
            cwd=self.options.home,
            death_signal=death,
            keep_open=keep,
        )
        self._children.append(child)
        return child

    def _start_redis(self) -> None:
        if self.environment.get("CVAT_LAMBDA_REDIS_URL"):
            return
        # A path of a socket has little room, so it is not in the home folder.
        self._sockets = Path(tempfile.mkdtemp(prefix="cvat-lambda-"))
        path = self._sockets / "redis.sock"
        command = redis_command(self.options.home / "redis", path, persist=True)
        wait_for_socket(path, child=self._child("redis", command))
        self.environment["CVAT_LAMBDA_REDIS_URL"] = f"unix://{path}"

    def _collect_metrics(self) -> None:
        """Have web server and workers count together, from 0; functions count for themselves."""
        folder = self.options.home / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)

    def _start_runtime(self) -> None:
        if not self.options.functions:
            return
        wished = self.options.platform_port
        port = free_port(wished, LOOPBACK)
        try:
            url = self._run_runtime(port)
        except ProcessFailed:
            if port == 0:
                raise
            url = self._run_runtime(0)  # somebody was faster than we
        actual = int(url.rpartition(":")[2])
        self._tell_port("the function runtime", wished, actual)
        self.environment["CVAT_LAMBDA_PLATFORM_URL"] = url
        self.environment["CVAT_LAMBDA_PLATFORM_PROJECT"] = ""  # all that it serves is ours

    def _run_runtime(self, port: int) -> str:
        """Start the runtime; its URL. Raise ProcessFailed."""
        ready = self.options.home / "runtime.url"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cvat_lambda.runtime", "serve"]
        command += [str(folder) for folder in self.options.functions]
        command += ["--host", LOOPBACK, "--port", str(port), "--ready-file", str(ready)]
        command += ["--state-dir", str(self.options.home / "runtime")]
        if self.options.only:
            command += ["--only", ",".join(self.options.only)]
        child = self._child("runtime", command)
        try:
            return wait_for_file(ready, child=child)
        except ProcessFailed:
            self._children.remove(child)
            child.stop()
            raise

    def _django(self, *arguments: str) -> None:
        name = arguments[0]
        child = self._child(name, [*self._manage(), *arguments])
        if child.process.wait(timeout=300) != 0:
            raise ProcessFailed(f"{name} failed:\n{child.last_words()}")
        self._children.remove(child)

    def _start_web(self) -> None:
        with bound_socket(self.options.port, self.options.host) as listener:
            port = listener.getsockname()[1]
            self._tell_port("the web server", self.options.port, port)
            command = web_command(
                listener.fileno(), threads=self.options.web_threads, folder=self.options.home
            )
            child = self._child("web", command, keep=(listener.fileno(),))
        self.url = f"http://{_reachable(self.options.host)}:{port}"
        wait_for_answer(f"{self.url}/health", child=child)

    def _tell_port(self, what: str, wished: int, port: int) -> None:
        if wished not in (0, port):
            self.say(f"Port {wished} is taken; {what} listens on {port} instead.")
