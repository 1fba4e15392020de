"""CVAT's own settings without this app, with the services and folders of the tests."""

import os
from pathlib import Path

from cvat.settings.production import *  # noqa: F403
from cvat.settings.production import LOGGING, RQ_QUEUES

BASE_DIR = Path(os.environ["CVAT_LAMBDA_TEST_HOME"])
DATA_ROOT = BASE_DIR / "data"
MEDIA_DATA_ROOT = DATA_ROOT / "data"
IAM_OPA_HOST = os.environ.get("CVAT_LAMBDA_TEST_OPA", "http://opa:8181")
IAM_OPA_DATA_URL = f"{IAM_OPA_HOST}/v1/data"
SMOKESCREEN_ENABLED = False
SECRET_KEY = "inside-cvat"
ALLOWED_HOSTS = ["*"]

for queue in RQ_QUEUES.values():
    queue["ASYNC"] = False
LOGGING["root"]["level"] = "ERROR"
for logger in LOGGING["loggers"].values():
    logger["level"] = "ERROR"
