"""The settings of a processor, which the supervisor sends as one JSON object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """Everything a processor needs to serve one function."""

    name: str
    namespace: str
    folder: str
    handler: str
    revision: str  # of the code, its environment and its weights
    interpreter: str  # the function's own python
    environment: dict[str, str]  # all variables of the workers
    mark: str  # the marks of all workers start with it (see processes/descendants.py)
    workers: int  # events that are handled at the same time
    threads: bool  # whether the workers are threads of one process
    trigger: str
    availability_timeout_s: float
    event_timeout_s: float | None
    readiness_timeout_s: float
    termination_timeout_s: float
    max_body: int  # bytes
    header_limit: int  # bytes
    worker_memory: int | None  # bytes
    memory_cgroup: str  # folder of the cgroup that limits the memory of all functions; "": none
    loading_lock: str  # file; the process that loads a model holds it if memory is limited
    network: bool  # whether the workers have a network
    idle_timeout_s: float | None
    log_file: str
    token: str  # "": no token is needed
    dashboard: str  # host:port, for functions that call functions
    opt_nuclio: str  # auto, mount, rewrite or none
    full_errors: bool  # answers contain the traceback of an error

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ProcessorSettings:
        """Read what `to_json` wrote."""
        return cls(**value)
