"""The real cvat-sdk and cvat-cli of several versions against a CVAT server with this app.

    CVAT_SOURCE=... python -m tests.inside_cvat.clients [VERSION ...]

The tables must exist, as for the benchmark, and the program uv must be on the PATH. The steps are
those of tests/clients/scenario.py, without the export, which is not a part of this app.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.stand import REPOSITORY
from tests.clients.versions import VERSIONS, run_version
from tests.http_server import HttpRequest, Reply, http_server, json_reply
from tests.inside_cvat.bench import Server, store_function

PASSWORD = "a password of the tests"
BOX = {"label": "car", "type": "rectangle", "points": [1, 2, 30, 20], "confidence": 0.9}


def finder(request: HttpRequest) -> Reply:
    """Answer one rectangle."""
    return json_reply([BOX])


def slow(request: HttpRequest) -> Reply:
    """Answer one rectangle after a second."""
    time.sleep(1)
    return json_reply([BOX])


def account_of(server: Server) -> dict[str, str]:
    """Return the benchmark's user with a password and a personal token, as variables."""
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.get(username="lambda-bench")
    user.set_password(PASSWORD)
    user.save()
    token = server.send("post", "/api/auth/access_tokens", json={"name": "clients"})
    return {
        "CLIENT_USER": user.username,
        "CLIENT_PASSWORD": PASSWORD,
        "CLIENT_TOKEN": str(token["value"]),
        "CLIENT_WITHOUT": "export",
    }


def main(versions: list[str]) -> int:
    """Run the versions one after the other, and return the exit status."""
    source = Path(os.environ["CVAT_SOURCE"])
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-clients-") as folder, ExitStack() as stack:
        os.environ["CVAT_LAMBDA_TEST_HOME"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.inside_cvat.server_settings"
        paths = [str(REPOSITORY), str(source), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        import django

        django.setup()
        for name, function in (("finder", finder), ("slow", slow)):
            served = stack.enter_context(http_server(function))
            store_function(urlsplit(served.url).port or 0, 2, name)
        server = Server(Path(folder), source, stack, frames=1)
        account = account_of(server)
        url = f"http://127.0.0.1:{server.port}"
        failed = [version for version in versions if not run_version(version, url, account)]
    print(f"{len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(VERSIONS)))
