"""``python -m cvat_lambda.server``: the standalone server from one command, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from cvat_lambda.server.arguments import count, port
from cvat_lambda.server.processes import ProcessFailed
from cvat_lambda.server.services import Options, Services


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Serve; the exit status is 0 after Ctrl-C, 1 if a process failed."""
    parser = argparse.ArgumentParser(prog="python -m cvat_lambda.server", description=__doc__)
    parser.add_argument(
        "functions", nargs="*", type=Path, help="folders of functions to serve (default: none)"
    )
    home = os.environ.get("CVAT_LAMBDA_HOME") or Path.home() / ".local/share/cvat_lambda"
    parser.add_argument("--home", type=Path, default=Path(home), help="where the data live")
    parser.add_argument("--port", type=port, default=8080, help="of the web pages")
    parser.add_argument("--workers", type=count, default=1, help="RQ worker processes")
    arguments = parser.parse_args()
    options = Options(
        home=arguments.home.resolve(),
        functions=tuple(folder.resolve() for folder in arguments.functions),
        port=arguments.port,
        workers=arguments.workers,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Services(options) as services:
            os.environ.update(services.environment)
            import django

            django.setup()
            from cvat_lambda.server.account import ensure_account

            print(f"Open {services.url}/ and {ensure_account(options.home).hint()}")
            print("Press Ctrl-C to stop.", flush=True)
            services.run_until_interrupted()
    except KeyboardInterrupt:
        return 0
    except ProcessFailed as exc:
        print(exc, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
