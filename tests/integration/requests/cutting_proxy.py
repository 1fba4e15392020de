"""A proxy for PostgreSQL that drops the answer to a COMMIT, so that the client misses it."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

COMMIT = b"COMMIT"


@dataclass
class CuttingProxy:
    """If ``armed``, the next COMMIT reaches the server, but the client gets no answer."""

    upstream: tuple[str, str]  # host (a folder of a Unix socket, too) and port, as Django has them
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    armed: bool = False
    cuts: int = 0

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self.upstream
        if not host.startswith("/"):
            return socket.create_connection((host, int(port)))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _relay(self, client: socket.socket) -> None:
        with client, self._connect() as server:
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for side in ready:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    if side is server:
                        client.sendall(data)
                        continue
                    server.sendall(data)
                    if self.armed and COMMIT in data:
                        self.armed = False
                        self.cuts += 1
                        server.recv(1 << 16)  # the answer proves that the server has committed
                        return


@contextmanager
def cutting_proxy(settings_dict: dict[str, Any]) -> Iterator[CuttingProxy]:
    """Redirect Django's connections with these settings through a proxy."""
    host = settings_dict["HOST"] or settings_dict["OPTIONS"].get("host") or "localhost"
    proxy = CuttingProxy(upstream=(host, str(settings_dict["PORT"] or 5432)))
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    before = {name: settings_dict[name] for name in ("HOST", "PORT")}
    settings_dict.update(HOST="127.0.0.1", PORT=proxy.port)
    try:
        yield proxy
    finally:
        settings_dict.update(before)
        proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
        thread.join()
