"""``python -m cvat_lambda.server``: run the standalone server until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import NoReturn

from cvat_lambda.server.arguments import ROLES, address, count, port, roles
from cvat_lambda.server.home import default_home
from cvat_lambda.server.processes import ProcessFailed
from cvat_lambda.server.services import LOOPBACK, Options, Services


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m cvat_lambda.server", description=__doc__)
    parser.add_argument(
        "functions", nargs="*", type=Path, help="folders of functions to serve (default: none)"
    )
    add = parser.add_argument
    add("--home", type=Path, default=default_home(), help="folder of the database, media and logs")
    add(
        "--host", type=address, default=LOOPBACK, help="address of the web pages (default loopback)"
    )
    add("--port", type=port, default=8080, help="port of the web pages (default 8080)")
    add(
        "--platform-port",
        type=port,
        default=8070,
        help="port of the function runtime, on loopback (default 8070)",
    )
    add(
        "--platform-host",
        type=address,
        default=LOOPBACK,
        help="address of the function runtime (default loopback)",
    )
    add(
        "--only",
        type=roles,
        default=ROLES,
        metavar="ROLE[,ROLE]",
        help=f"what this host runs: {', '.join(ROLES)} (default: all)",
    )
    add(
        "--print-logs",
        action="store_true",
        help="print the logs of all processes, which are in the home folder in any case",
    )
    add("--workers", type=count, default=1, help="number of RQ worker processes (default 1)")
    return parser


def main() -> int:
    """Serve; the exit status is 0 after Ctrl-C, 1 if a process failed."""
    arguments = argument_parser().parse_args()
    options = Options(
        home=arguments.home.resolve(),
        functions=tuple(folder.resolve() for folder in arguments.functions),
        host=arguments.host,
        port=arguments.port,
        roles=arguments.only,
        platform_host=arguments.platform_host,
        platform_port=arguments.platform_port,
        workers=arguments.workers,
        print_logs=arguments.print_logs,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Services(options) as services:
            if "web" in options.roles:
                print(f"Open {services.url}/ and {services.login}")
            else:
                print(f"Running: {', '.join(options.roles)}. Health: {services.url}/health/ready")
            print("Press Ctrl-C to stop.", flush=True)
            services.run_until_interrupted()
    except KeyboardInterrupt:
        return 0
    except ProcessFailed as exc:
        print(exc, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
