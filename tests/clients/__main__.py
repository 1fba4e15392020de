"""Run the real cvat-sdk and cvat-cli of several versions against the standalone server.

Each version has an environment of its own, which is cached per user. The steps are those of
scenario.py. Without arguments all versions run: 2.54, 2.60, 2.70, 2.76 and 2.80.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cvat_lambda.server.account import ensure_account
from cvat_lambda.server.services import Options, Services
from tests.clients.versions import VERSIONS, run_version
from tests.integration.runtime.harness import write_function

SPEC = '[{"id": 1, "name": "car", "type": "rectangle"}]'
CODE = """\
import json, time

def handler(context, event):
    time.sleep({seconds})
    items = [{{"label": "car", "type": "rectangle", "points": [1, 2, 30, 20], "confidence": 0.9}}]
    return context.Response(
        body=json.dumps(items), content_type="application/json", status_code=200
    )
"""


def write_functions(root: Path) -> None:
    """Write the functions that the scenario uses."""
    for name, seconds in (("finder", 0), ("slow", 1)):
        folder = write_function(root, name, CODE.format(seconds=seconds))
        file = folder / "function.yaml"
        text = file.read_text().replace("type: detector", f"type: detector\n    spec: '{SPEC}'")
        file.write_text(text)


def account_of(home: Path) -> dict[str, str]:
    """Return the administrator of the server with a personal token, as environment variables."""
    from django.contrib.auth import get_user_model

    from cvat_lambda.engine.standalone.models import AccessToken

    account = ensure_account(home)
    user = get_user_model().objects.get(username=account.name)
    return {
        "CLIENT_USER": account.name,
        "CLIENT_PASSWORD": account.password or "",
        "CLIENT_TOKEN": AccessToken.create(user, name="clients")[1],
    }


def serve_and_run(versions: Sequence[str]) -> list[str]:
    """Start the server, run the versions one after the other, and return those that failed."""
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-clients-") as scratch:
        home = Path(scratch) / "home"
        write_functions(Path(scratch) / "functions")
        options = Options(
            home=home, functions=(Path(scratch) / "functions",), port=0, platform_port=0
        )
        with Services(options) as services:
            os.environ.update(services.environment)
            import django

            django.setup()
            account = account_of(home)
            failed = []
            for version in versions:
                failed += [] if run_version(version, services.url, account) else [version]
            return failed


def main(arguments: Sequence[str]) -> int:
    """Run the versions and print the failed ones. Return the exit status."""
    parser = argparse.ArgumentParser(
        prog="script/test-clients",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("versions", nargs="*", metavar="VERSION", help="such as 2.70.0")
    parser.add_argument("--short", action="store_true", help="only the oldest and the newest")
    options = parser.parse_args(arguments)
    chosen = options.versions or (VERSIONS[:: len(VERSIONS) - 1] if options.short else VERSIONS)
    failed = serve_and_run(chosen)
    print(f"{len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
