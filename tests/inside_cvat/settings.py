"""Settings of the tests inside CVAT: RQ jobs run in the process that enqueues them.

CVAT's environment variables name its services. ``CVAT_LAMBDA_TEST_OPA`` is the URL of a policy
server with the rules of CVAT and of this app. Media files are in a temporary folder.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from cvat_lambda.integration.cvat.settings import *  # noqa: F403
from cvat_lambda.integration.cvat.settings import (  # type: ignore[attr-defined]  # CVAT has them
    LOGGING,
    RQ_QUEUES,
)

if "CVAT_LAMBDA_TEST_HOME" not in os.environ:  # a child process inherits its parent's
    os.environ["CVAT_LAMBDA_TEST_HOME"] = tempfile.mkdtemp(prefix="cvat-lambda-tests-")
    atexit.register(shutil.rmtree, os.environ["CVAT_LAMBDA_TEST_HOME"], ignore_errors=True)

BASE_DIR = Path(os.environ["CVAT_LAMBDA_TEST_HOME"])

MEDIA_ROOT = BASE_DIR
DATA_ROOT = BASE_DIR / "data"
MEDIA_DATA_ROOT = DATA_ROOT / "data"
CACHE_ROOT = DATA_ROOT / "cache"
EXPORT_CACHE_ROOT = CACHE_ROOT / "export"
JOBS_ROOT = DATA_ROOT / "jobs"
TASKS_ROOT = DATA_ROOT / "tasks"
PROJECTS_ROOT = DATA_ROOT / "projects"
TMP_FILES_ROOT = DATA_ROOT / "tmp"
SHARE_ROOT = BASE_DIR / "share"
for folder in (
    MEDIA_DATA_ROOT,
    EXPORT_CACHE_ROOT,
    JOBS_ROOT,
    TASKS_ROOT,
    PROJECTS_ROOT,
    TMP_FILES_ROOT,
    SHARE_ROOT,
):
    folder.mkdir(parents=True, exist_ok=True)

IAM_OPA_HOST = os.environ.get("CVAT_LAMBDA_TEST_OPA", "http://opa:8181")
IAM_OPA_DATA_URL = f"{IAM_OPA_HOST}/v1/data"
SMOKESCREEN_ENABLED = False
SENDFILE_BACKEND = "django_sendfile.backends.simple"
SECRET_KEY = "inside-cvat"
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ("django.contrib.auth.hashers.MD5PasswordHasher",)

for queue in RQ_QUEUES.values():
    queue["ASYNC"] = False  # an RQ job runs in the process that enqueues it
LOGGING["root"]["level"] = "ERROR"
for logger in LOGGING["loggers"].values():
    logger["level"] = "ERROR"

CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0.0
CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1/32",)
