"""Settings of the tests: the standalone server's, with real servers behind them.

``CVAT_LAMBDA_TEST_DATABASE=postgresql`` runs the same tests on PostgreSQL; default is SQLite, in
a file, since worker processes and the live server share it.

Each process that runs tests (pytest, or each worker of pytest-xdist) has a home folder, a Redis
server and a database of its own. The processes that a test starts use those of the test: they find
them in the environment. PostgreSQL is one server, on which pytest-django makes a database for each
worker.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests import services

# The worker's name is "gw0", "gw1", ..., and none without workers. Children inherit both variables.
if os.environ.get("CVAT_LAMBDA_TEST_HOME_OF") != os.environ.get("PYTEST_XDIST_WORKER", ""):
    _home = tempfile.mkdtemp(prefix="cvat-lambda-tests-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    os.environ["CVAT_LAMBDA_TEST_HOME_OF"] = os.environ.get("PYTEST_XDIST_WORKER", "")
    os.environ["CVAT_LAMBDA_TEST_HOME"] = os.environ["CVAT_LAMBDA_HOME"] = _home
    os.environ["CVAT_LAMBDA_REDIS_URL"] = services.redis_url()
    if os.environ.get("CVAT_LAMBDA_TEST_DATABASE") == "postgresql":
        os.environ["DATABASE_URL"] = services.postgresql_url()
    else:
        os.environ["DATABASE_URL"] = f"sqlite:///{_home}/db.sqlite3"

from cvat_lambda.server.settings import *  # noqa: F403
from cvat_lambda.server.settings import DATABASES

TEST_HOME = Path(os.environ["CVAT_LAMBDA_TEST_HOME"])
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": str(TEST_HOME / "test.sqlite3")}
DATABASES["default"]["CONN_MAX_AGE"] = 0

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0.0  # no thread behind a test; tests refresh themselves
CVAT_LAMBDA_HEARTBEAT_S = 1.0
CVAT_LAMBDA_STALLED_AFTER_S = 5.0
