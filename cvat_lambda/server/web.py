"""A web server process: ``python -m cvat_lambda.server.web --fd N --threads N``.

Waitress reads each request completely before a thread runs Django, and buffers each response. A
slow client therefore costs memory or a temporary file, but no thread. Several of these processes
accept connections from one listening socket, which their parent has opened.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

from waitress.server import create_server

MAX_CONNECTIONS = 4000  # open connections of one process; further ones wait in the kernel's queue
IDLE_TIMEOUT_S = 120
BUFFER_IN_MEMORY = 512 * 1024  # bytes; larger requests and responses go to a temporary file
UNLIMITED = 2**62


def serve(listener: socket.socket, threads: int) -> None:
    """Serve the WSGI application until SIGTERM or Ctrl-C."""
    from cvat_lambda.engine.standalone.conf import engine_settings
    from cvat_lambda.server.wsgi import application

    connections = _allow_connections(MAX_CONNECTIONS)
    proxy: dict[str, Any] = {"clear_untrusted_proxy_headers": True}
    if engine_settings.TRUSTED_PROXY:
        proxy |= {
            "trusted_proxy": engine_settings.TRUSTED_PROXY,
            "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"},
        }
    server: Any = create_server(
        application,
        sockets=[listener],
        threads=threads,
        asyncore_use_poll=True,
        connection_limit=connections,
        channel_timeout=IDLE_TIMEOUT_S,
        ident=None,  # no Server header
        max_request_body_size=engine_settings.MAX_UPLOAD_BYTES,
        inbuf_overflow=BUFFER_IN_MEMORY,
        outbuf_overflow=BUFFER_IN_MEMORY,
        outbuf_high_watermark=UNLIMITED,  # a thread does not wait for a slow reader
        **proxy,
    )
    from cvat_lambda.server.streams import StreamingChannel  # needs Django, which `wsgi` set up

    server.channel_class = StreamingChannel
    signal.signal(signal.SIGTERM, _stop)
    server.run()


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)


def _allow_connections(wanted: int) -> int:
    """Raise the limit of open files, and return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 2 * wanted if hard == resource.RLIM_INFINITY else min(hard, 2 * wanted)
    if limit > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(100, min(wanted, limit // 2))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cvat_lambda.server.web", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cvat_lambda.server.settings")
    serve(socket.socket(fileno=arguments.fd), arguments.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
