"""The main process of a runtime: the dashboard's server, the supervisor and their folders."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from cvat_lambda.runtime.client import DEFAULT_PORT
from cvat_lambda.runtime.dashboard.server import make_app
from cvat_lambda.runtime.deploy.prepare import make_preparer
from cvat_lambda.runtime.deploy.settings import DEFAULT_MAX_WORKERS, RuntimeSettings
from cvat_lambda.runtime.deploy.sources import SourceStore
from cvat_lambda.runtime.deploy.supervisor import Supervisor
from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.paths import cache_folder, digest
from cvat_lambda.runtime.processes.memory_limit import find_memory_limit
from cvat_lambda.runtime.spec.function_file import DEFAULT_PROJECT
from cvat_lambda.runtime.spec.quantities import format_bytes

# For downloads. After this time the log says which functions are not ready.
_LONGEST_START_S: Final = 86400.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """The options of ``serve``."""

    folders: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT  # 0 = any free one
    token: str = ""  # "": no token is needed, which is allowed on loopback only
    only: frozenset[str] = frozenset()  # names of the functions to load; empty = all
    project: str = DEFAULT_PROJECT  # of the functions whose file names none
    gpu: bool | None = None  # None = the files for NVIDIA if the machine has such a device
    state_folder: Path | None = None  # None = one in the cache, chosen by address and folders
    ready_file: Path | None = None
    offline: bool = False  # fetch no weights
    accepted_licences: frozenset[str] = frozenset()
    opt_nuclio: str = "auto"  # auto, mount, rewrite or none
    full_errors: bool = False
    max_workers: int = DEFAULT_MAX_WORKERS  # of one function
    idle_timeout_s: float | None = None  # of functions whose file has none


async def run(options: ServiceOptions, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `announce` with the URL when the dashboard answers.

    Raise RuntimeFault for options that cannot be used.
    """
    if options.host not in _LOOPBACK and not options.token:
        raise RuntimeFault(
            f"{options.host} is reachable by others: give a token (--token or "
            "CVAT_LAMBDA_RUNTIME_TOKEN), or bind 127.0.0.1"
        )
    stop = _stop_on_signals()
    with _state_folder(options) as state, _bound(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        supervisor = _make_supervisor(options, state, port)
        runner = web.AppRunner(
            make_app(supervisor, host=options.host, token=options.token),
            access_log=None,
            shutdown_timeout=2.0,
        )
        summary: asyncio.Future[None] | None = None
        try:
            await runner.setup()
            await web.SockSite(runner, listener, backlog=1024).start()
            supervisor.clear_leftovers()
            await supervisor.load_folders(
                options.folders, only=options.only, gpu=options.gpu, project=options.project
            )
            await supervisor.load_deployed()
            _warn_of_missing_functions(supervisor, options.only)
            url = f"http://{_in_url(options.host)}:{port}"
            _write_ready_file(options.ready_file, url)
            announce(url)
            summary = asyncio.ensure_future(_log_summary(supervisor))
            await stop.wait()
        finally:
            if summary is not None:
                summary.cancel()
            await supervisor.stop()
            await runner.cleanup()


async def _log_summary(supervisor: Supervisor) -> None:
    """Log that the functions of the start are being prepared, and later how many are ready."""
    functions = supervisor.list()
    if not functions:
        return
    logger.info("the dashboard listens; functions that are being prepared: %d", len(functions))
    await supervisor.wait_until_settled(_LONGEST_START_S)
    others = [item.name for item in functions if item.state not in ("ready", "scaledToZero")]
    about = f"; not ready: {', '.join(others)}" if others else ""
    ready = len(functions) - len(others)
    logger.info("%d of %d functions are ready%s", ready, len(functions), about)


def _warn_of_missing_functions(supervisor: Supervisor, only: frozenset[str]) -> None:
    served = {deployment.name for deployment in supervisor.list()}
    if not served:
        logger.warning(
            "no function is served: give folders to serve, or deploy some with "
            "python -m cvat_lambda.runtime deploy FOLDER"
        )
    for name in sorted(only - served):
        logger.warning("--only names %r, and no function of that name was found", name)


def _stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and Ctrl-C set. A second Ctrl-C ends this process at once.

    All child processes end with this process in any case.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        stop.set()
        loop.add_signal_handler(signal.SIGINT, os._exit, 128 + signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def _make_supervisor(options: ServiceOptions, state: Path, port: int) -> Supervisor:
    memory = find_memory_limit()
    if memory is not None:
        logger.info(
            "memory limit of this container or service: %s; models are loaded one by one",
            format_bytes(memory.limit),
        )
    host = RuntimeSettings(
        host=options.host,
        token=options.token,
        dashboard=f"{_in_url(options.host)}:{port}",
        logs_folder=state / "logs",
        opt_nuclio=options.opt_nuclio,
        full_errors=options.full_errors,
        max_workers=options.max_workers,
        memory=memory,
        idle_timeout_s=options.idle_timeout_s,
    )
    preparer = make_preparer(offline=options.offline, licences=options.accepted_licences)
    projects = {DEFAULT_PROJECT, options.project}
    return Supervisor(host, preparer, SourceStore(state / "deployed"), projects)


@contextlib.contextmanager
def _state_folder(options: ServiceOptions) -> Iterator[Path]:
    """Lock and return a folder for logs and deployed code."""
    folder = options.state_folder
    if folder is None:
        roots = sorted(str(root.resolve()) for root in options.folders)
        key = digest(options.host, str(options.port), *roots)[:16]
        folder = cache_folder() / "runtime" / key
    # Workers and installers have other working folders, so the path must be absolute.
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if options.state_folder is not None:
                raise RuntimeFault(f"another runtime uses the state folder {folder}") from None
        else:
            yield folder
            return
    logger.warning("another runtime uses %s: what is deployed here lasts for this run", folder)
    temporary = Path(tempfile.mkdtemp(prefix="cvat-lambda-runtime-")).resolve()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as exc:
            raise RuntimeFault(
                f"port {port} on {host} cannot be used ({exc.strerror}): choose another with --port"
            ) from exc
        yield listener


def _in_url(host: str) -> str:
    if host == "0.0.0.0":
        return "127.0.0.1"
    return f"[{'::1' if host == '::' else host}]" if ":" in host else host


def _write_ready_file(path: Path | None, url: str) -> None:
    """Write the URL to a file, atomically."""
    if path is not None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(url + "\n", encoding="utf-8")
        temporary.replace(path)
