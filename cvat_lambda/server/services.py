"""The processes of a standalone server, started in order and stopped in reverse.

They are Redis (from a wheel, or the one that ``CVAT_LAMBDA_REDIS_URL`` names), the function
runtime, two web processes, RQ workers, and the recovery of lost requests. Redis listens on a Unix
socket in a private folder. The web processes inherit a socket that is bound here. The runtime
writes its address to a file.

`Options.roles` names what this host runs. Hosts with different roles share the database, the queue
and the platform by their environment variables; see docs/several-hosts.md.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

from redis import RedisError

from cvat_lambda.server.arguments import ROLES
from cvat_lambda.server.home import (
    RUNTIME_TOKEN,
    RUNTIME_URL,
    prepare_home,
    running_platform,
)
from cvat_lambda.server.hosts import RENEW_EVERY_S, announce
from cvat_lambda.server.log_output import LogOutput
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
from cvat_lambda.server.supervisor import Supervisor

LOOPBACK = "127.0.0.1"

MIGRATIONS_TIMEOUT_S: Final = 600.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to start, and where."""

    home: Path  # database, media, logs, Redis' files
    roles: tuple[str, ...] = ROLES
    functions: tuple[Path, ...] = ()  # folders of functions; none: no runtime is started
    only: tuple[str, ...] = ()  # ids of the functions to serve; none: all
    host: str = LOOPBACK  # address of the web server
    port: int = 8080  # of the web server, if it is free; 0: any
    platform_host: str = LOOPBACK  # address of the runtime
    platform_port: int = 8070  # of the runtime, if it is free; 0: any
    workers: int = 1  # RQ worker processes
    web_processes: int = 2
    web_threads: int = 24  # of each web process
    print_logs: bool = False  # copy the logs of all processes to the standard output


def web_command(listener: int, *, threads: int) -> list[str]:
    """Return the command of a web process that accepts connections from an open socket."""
    return [
        *(sys.executable, "-m", "cvat_lambda.server.web"),
        *("--fd", str(listener), "--threads", str(threads)),
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
    login: str = ""  # how to log in, as a sentence
    environment: dict[str, str] = field(default_factory=dict)
    _supervisor: Supervisor | None = None
    _listener: socket.socket | None = None
    _lock: IO[str] | None = None
    _sockets: Path | None = None
    _log_output: LogOutput | None = None

    def __enter__(self) -> Services:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def children(self) -> dict[str, Child]:
        """The running processes by name."""
        processes = self._supervisor.processes if self._supervisor is not None else []
        return {process.name: process.child for process in processes}

    def start(self) -> None:
        """Start everything. Raise ProcessFailed with the log's end of a process that fails."""
        self._require_shared_services()
        self._take_home()
        self._supervisor = Supervisor(self.options.home, say=self.say)
        self.environment = {
            **os.environ,
            "CVAT_LAMBDA_HOME": str(self.options.home),
            "DJANGO_SETTINGS_MODULE": "cvat_lambda.server.settings",
            "CVAT_LAMBDA_ROLES": ",".join(self.options.roles),
            "PYTHONUNBUFFERED": "1",
        }
        if self.options.print_logs:
            self._log_output = self._new_log_output()
        roles = self.options.roles
        if "web" in roles or "workers" in roles:
            self._start_redis()
            self._collect_metrics()
        if "runtime" in roles:
            self._start_runtime()
        if "web" in roles:
            self._prepare()
            self._start_web()
        if "workers" in roles:
            if "web" not in roles:
                self._wait_for_migrations()
            self._start_workers()
        if "web" not in roles:
            self._start_health_pages()
        self._write_address()
        self._supervisor.write_states()

    def stop(self) -> None:
        """Stop everything that was started."""
        if self._supervisor is not None:
            self._supervisor.stop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def check(self) -> None:
        """Restart processes that have ended. Call this every second or more often."""
        if self._supervisor is not None:
            self._supervisor.check()

    def _new_log_output(self) -> LogOutput:
        folder = self.options.home / "logs"
        for log in folder.glob("*.log"):
            log.unlink()  # lines of an earlier run were printed by that run
        is_json = self.environment.get("CVAT_LAMBDA_LOG_FORMAT") == "json"
        return LogOutput(folder=folder, output=sys.stdout, prefix=not is_json)

    def run_until_interrupted(self) -> None:
        """Watch the processes until Ctrl-C (KeyboardInterrupt)."""
        queue = self.environment.get("CVAT_LAMBDA_REDIS_URL")
        announced_at = -RENEW_EVERY_S
        while True:
            self.check()
            if self._log_output is not None:
                self._log_output.copy_new_lines()
            if queue and time.monotonic() - announced_at >= RENEW_EVERY_S:
                announced_at = time.monotonic()
                with suppress(RedisError, OSError):  # tried again after the interval
                    announce(queue, self.options.roles)
            time.sleep(0.5)

    def _require_shared_services(self) -> None:
        """Raise ProcessFailed if this host is one of several and does not know what they share."""
        roles = self.options.roles
        if set(roles) == set(ROLES) or set(roles) == {"runtime"}:
            return
        needed = ["DATABASE_URL", "CVAT_LAMBDA_REDIS_URL"]
        if "runtime" not in roles:
            needed.append("CVAT_LAMBDA_PLATFORM_URL")
        missing = [name for name in needed if not os.environ.get(name)]
        if missing:
            raise ProcessFailed(
                f"--only {','.join(roles)} needs {' and '.join(missing)}:"
                " this host shares the database, the queue and the functions with other hosts"
            )

    def _take_home(self) -> None:
        """Allow one server for a home folder: two would share a Redis file and logs."""
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
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        """Start a process that is restarted when it ends."""
        assert self._supervisor is not None
        log = self.options.home / "logs" / f"{name}.log"
        log.unlink(missing_ok=True)
        return self._supervisor.add(
            name, partial(self._start, name, command, log=log, death=death, keep=keep, more=more)
        )

    def _start(
        self,
        name: str,
        command: list[str],
        *,
        log: Path,
        death: signal.Signals = signal.SIGTERM,
        keep: tuple[int, ...] = (),
        more: Mapping[str, str] = MappingProxyType({}),  # variables of this process only
    ) -> Child:
        # The home folder contains no module that could hide one of the project.
        return Child.start(
            name,
            command,
            env={**self.environment, **more},
            log=log,
            cwd=self.options.home,
            death_signal=death,
            keep_open=keep,
        )

    def _start_redis(self) -> None:
        if self.environment.get("CVAT_LAMBDA_REDIS_URL"):
            return
        # The path of a socket must be short, so it is not in the home folder.
        self._sockets = Path(tempfile.mkdtemp(prefix="cvat-lambda-"))
        path = self._sockets / "redis.sock"
        command = redis_command(self.options.home / "redis", path, persist=True)
        wait_for_socket(path, child=self._child("redis", command))
        self.environment["CVAT_LAMBDA_REDIS_URL"] = f"unix://{path}"

    def _collect_metrics(self) -> None:
        """Let web server and workers count metrics together, from 0."""
        folder = self.options.home / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)

    def _start_runtime(self) -> None:
        if not self.options.functions:
            return
        wished = self.options.platform_port
        # Chosen here: a restarted runtime must use the same port.
        host = self.options.platform_host
        port = free_port(wished, host)
        ready = self.options.home / RUNTIME_URL
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "cvat_lambda.runtime", "serve"]
        command += [str(folder) for folder in self.options.functions]
        command += ["--host", host, "--port", str(port), "--ready-file", str(ready)]
        command += ["--state-dir", str(self.options.home / "runtime")]
        token = os.environ.get("CVAT_LAMBDA_RUNTIME_TOKEN", "")
        if not token:
            command += ["--token-file", str(self.options.home / RUNTIME_TOKEN)]
        if self.options.only:
            command += ["--only", ",".join(self.options.only)]
        child = self._child("runtime", command)
        url = wait_for_file(ready, child=child)
        self._tell_port("the function runtime", wished, int(url.rpartition(":")[2]))
        self.environment.update(running_platform(self.options.home))
        if token:
            self.environment["CVAT_LAMBDA_PLATFORM_TOKEN"] = token

    def _wait_for_migrations(self) -> None:
        """Wait until a host with the role web has migrated the database. Raise ProcessFailed."""
        log = self.options.home / "logs" / "migrations.log"
        log.unlink(missing_ok=True)
        command = [*self._manage(), "migrate", "--check"]
        end = time.monotonic() + MIGRATIONS_TIMEOUT_S
        told = False
        while True:
            child = self._start("migrations", command, log=log)
            if child.process.wait(timeout=120) == 0:
                return
            if time.monotonic() > end:
                raise ProcessFailed(
                    "the database was not migrated; start a host with the role web:\n"
                    + child.last_words()
                )
            if not told:
                self.say("Waiting until a host with the role web has migrated the database.")
                told = True
            time.sleep(2.0)

    def _start_workers(self) -> None:
        for number in range(self.options.workers):
            # Other processes make Django's checks, for which a worker would load the web pages.
            command = ["rqworker", "annotation", "--skip-checks"]
            command += ["--worker-class", "cvat_lambda.server.worker.LinkedWorker"]
            # Killed with its parent, without a grace period: its request resumes at the next start.
            self._child(f"worker-{number}", [*self._manage(), *command], death=signal.SIGKILL)
        self._child(
            "recovery", [*self._manage(), "recover_requests", "--loop", "10", "--skip-checks"]
        )

    def _start_health_pages(self) -> None:
        """Serve ``/health`` and ``/health/ready`` of a host without web pages."""
        self.options = replace(self.options, web_processes=1, web_threads=2)
        self._start_web(
            CVAT_LAMBDA_ROOT_URLCONF="cvat_lambda.server.health_urls",
            CVAT_LAMBDA_FUNCTIONS_REFRESH_S="0",  # a host with the role runtime has no database
        )

    def _prepare(self) -> None:
        """Migrate the database, delete media of no task, create the account. Raise ProcessFailed.

        A child process does this, so that this process, which runs as long as the server, needs no
        Django.
        """
        log = self.options.home / "logs" / "prepare.log"
        log.unlink(missing_ok=True)
        reading, writing = os.pipe()  # the log must not have the password
        with os.fdopen(reading) as login:
            try:
                command = [sys.executable, "-m", "cvat_lambda.server.prepare"]
                command += ["--login-fd", str(writing)]
                child = self._start("prepare", command, log=log, keep=(writing,))
            finally:
                os.close(writing)
            try:
                if child.process.wait(timeout=300) != 0:
                    raise ProcessFailed(f"the database was not prepared:\n{child.last_words()}")
                self.login = login.read()
            finally:
                child.stop()

    def _start_web(self, **environment: str) -> None:
        self._listener = bound_socket(self.options.port, self.options.host)
        port = self._listener.getsockname()[1]
        self._tell_port("the web server", self.options.port, port)
        descriptor = self._listener.fileno()
        command = web_command(descriptor, threads=self.options.web_threads)
        for number in range(self.options.web_processes):
            child = self._child(f"web-{number}", command, keep=(descriptor,), more=environment)
        self.url = f"http://{_reachable(self.options.host)}:{port}"
        wait_for_answer(f"{self.url}/health", child=child)

    def _tell_port(self, what: str, wished: int, port: int) -> None:
        if wished not in (0, port):
            self.say(f"Port {wished} is taken; {what} listens on {port} instead.")
