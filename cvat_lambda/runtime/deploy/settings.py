"""The settings that all functions of a runtime share, and the settings of their processors."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.deploy.prepare import PreparedFunction
from cvat_lambda.runtime.errors import FunctionBroken, NotStarted
from cvat_lambda.runtime.processes.memory_limit import MemoryLimit
from cvat_lambda.runtime.processor.settings import ProcessorSettings
from cvat_lambda.runtime.spec.function_file import FunctionConfig
from cvat_lambda.runtime.spec.triggers import HttpTrigger

DEFAULT_MAX_WORKERS: Final = 64
MAX_WORKERS_VARIABLE: Final = "CVAT_LAMBDA_RUNTIME_MAX_WORKERS"
IDLE_TIMEOUT_VARIABLE: Final = "CVAT_LAMBDA_RUNTIME_IDLE_TIMEOUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Settings of a runtime."""

    host: str
    token: str
    dashboard: str  # host:port of the dashboard
    logs_folder: Path
    opt_nuclio: str
    full_errors: bool
    max_workers: int = DEFAULT_MAX_WORKERS  # of one function
    memory: MemoryLimit | None = None  # of all functions together
    idle_timeout_s: float | None = None  # of functions whose file has none; None: they stay loaded


def check_limits(config: FunctionConfig, settings: RuntimeSettings) -> None:
    """Raise FunctionBroken if a function asks for more than this runtime allows."""
    workers = config.trigger.workers
    if workers > settings.max_workers:
        raise FunctionBroken(
            f"function {config.name!r}: spec.triggers.{config.trigger.name}.numWorkers is "
            f"{workers}, and this runtime allows {settings.max_workers}: lower it, or start the "
            f"runtime with --max-workers or {MAX_WORKERS_VARIABLE}"
        )


def bind_listener(host: str, trigger: HttpTrigger) -> socket.socket:
    """Return a bound socket that does not listen yet, so that calls are refused until it does.

    Raise NotStarted when the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, trigger.port))
    except OSError as exc:
        listener.close()
        raise NotStarted(
            f"port {trigger.port} is taken by another program or function: free it or change "
            f"spec.triggers.{trigger.name}.attributes.port ({exc.strerror})",
            transient=True,
        ) from exc
    return listener


def reachable(host: str) -> str:
    """Return the address of a server bound to `host`, as seen from this machine."""
    if host in ("0.0.0.0", ""):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def processor_settings(
    config: FunctionConfig, prepared: PreparedFunction, host: RuntimeSettings, log_path: Path
) -> ProcessorSettings:
    """Return the settings of a function's processor."""
    trigger = config.trigger
    return ProcessorSettings(
        name=config.name,
        namespace=config.namespace,
        folder=str(config.folder),
        handler=config.handler,
        revision=prepared.revision,
        interpreter=str(prepared.interpreter),
        environment=prepared.environment,
        mark=secrets.token_hex(12),
        workers=trigger.workers,
        threads=config.extras.threads,
        trigger=trigger.name,
        availability_timeout_s=trigger.availability_timeout_s,
        event_timeout_s=config.event_timeout_s,
        readiness_timeout_s=config.readiness_timeout_s,
        termination_timeout_s=trigger.termination_timeout_s,
        max_body=trigger.max_body,
        header_limit=trigger.header_limit,
        worker_memory=config.extras.worker_memory,
        memory_cgroup=str(host.memory.folder) if host.memory is not None else "",
        loading_lock=str(host.logs_folder.parent / "loading.lock"),
        network=config.extras.network,
        idle_timeout_s=config.extras.idle_timeout_s or host.idle_timeout_s,
        log_file=str(log_path),
        token=host.token,
        dashboard=host.dashboard,
        opt_nuclio=host.opt_nuclio,
        full_errors=host.full_errors,
    )
