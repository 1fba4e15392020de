"""Settings of the tests: those of the standalone server, with real servers.

``CVAT_LAMBDA_TEST_DATABASE=postgresql`` runs the same tests on PostgreSQL. The default is a SQLite
file, which worker processes and the live server share.

Each process that runs tests (pytest, or each worker of pytest-xdist) has its own home folder, Redis
server and database. Environment variables pass them to the processes that a test starts. There is
one PostgreSQL server, on which pytest-django creates a database for each worker.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests import services

# The name is "gw0", "gw1", ..., or empty without workers. Child processes inherit both variables.
if os.environ.get("CVAT_LAMBDA_TEST_HOME_OF") != os.environ.get("PYTEST_XDIST_WORKER", ""):
    _home = tempfile.mkdtemp(prefix="cvat-lambda-tests-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    os.environ["CVAT_LAMBDA_TEST_HOME_OF"] = os.environ.get("PYTEST_XDIST_WORKER", "")
    os.environ["CVAT_LAMBDA_TEST_HOME"] = os.environ["CVAT_LAMBDA_HOME"] = _home
    # Some images set this variable. Each of hundreds of processes would compile all modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["CVAT_LAMBDA_REDIS_URL"] = services.redis_url()
    if os.environ.get("CVAT_LAMBDA_TEST_DATABASE") == "postgresql":
        os.environ["DATABASE_URL"] = services.postgresql_url()
    else:
        os.environ["DATABASE_URL"] = f"sqlite:///{_home}/db.sqlite3"

from cvat_lambda.server.settings import *  # noqa: F403
from cvat_lambda.server.settings import DATABASES, INSTALLED_APPS

TEST_HOME = Path(os.environ["CVAT_LAMBDA_TEST_HOME"])
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": str(TEST_HOME / "test.sqlite3")}
DATABASES["default"]["CONN_MAX_AGE"] = 0
INSTALLED_APPS = ["tests.flushing", *INSTALLED_APPS]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0.0  # no background thread; tests refresh explicitly
CVAT_LAMBDA_HEARTBEAT_S = 1.0
CVAT_LAMBDA_STALLED_AFTER_S = 60.0  # a busy machine delays heartbeats
