"""The `Gateway` object owns the state that invocations keep in this process."""

from __future__ import annotations

import os
import threading

from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.concurrency import ConcurrencyLimiter, Limiters
from cvat_lambda.gateway.host_resolver import HostResolver
from cvat_lambda.gateway.http import ConnectionPool
from cvat_lambda.gateway.load_sharing import LoadRegistry
from cvat_lambda.gateway.routes import Routes


class Gateway:
    """Owns connections, routes, concurrency limiters, load sharing and checked hosts."""

    def __init__(self) -> None:
        self.connections = ConnectionPool()
        self.hosts = HostResolver()
        self.load = LoadRegistry()
        self.limiters = Limiters(self.load)
        self.routes = Routes(self.connections)

    def limiter(self, spec: FunctionSpec) -> ConcurrencyLimiter:
        """Return the concurrency limiter of a function."""
        return self.limiters.of(spec)

    def reset(self) -> None:
        """Close idle connections and delete the state of functions and hosts."""
        self.connections.close()
        self.hosts.reset()
        self.load.reset()
        self.limiters.reset()
        self.routes.reset()


_lock = threading.Lock()
_gateway: Gateway | None = None


def get_gateway() -> Gateway:
    """Return the gateway of this process."""
    global _gateway
    if _gateway is None:
        with _lock:
            if _gateway is None:
                _gateway = Gateway()
    return _gateway


def _begin_anew() -> None:
    """Give a forked process its own gateway, because it has no threads and must share no socket."""
    global _gateway, _lock
    _gateway, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)
