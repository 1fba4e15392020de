"""Settings of CVAT's own tests of `cvat.apps.lambda_manager` against this app.

DJANGO_SETTINGS_MODULE=tests.inside_cvat.stock_settings manage.py test cvat.apps.lambda_manager
"""

import os

from cvat.settings.testing import *  # noqa: F403
from cvat.settings.testing import DATABASES

from cvat_lambda.integration.cvat.overlay import enable_models_page, overlay

globals().update(overlay(globals()))
enable_models_page()

# Requests use threads with their own connections, which SQLite in memory does not support.
DATABASES["default"] = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": os.environ.get("CVAT_POSTGRES_HOST", "localhost"),
    "USER": os.environ.get("CVAT_POSTGRES_USER", "root"),
    "PASSWORD": os.environ.get("CVAT_POSTGRES_PASSWORD", ""),
    "PORT": os.environ.get("CVAT_POSTGRES_PORT", ""),
    "NAME": "cvat_lambda_stock",
    "TEST": {"NAME": "test_cvat_lambda_stock"},
}
IAM_OPA_HOST = os.environ.get("CVAT_LAMBDA_TEST_OPA", "http://opa:8181")
IAM_OPA_DATA_URL = f"{IAM_OPA_HOST}/v1/data"
LOGGING = {"version": 1, "disable_existing_loggers": True}

CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0.0
CVAT_LAMBDA_INVOKE_METHOD = "dashboard"
CVAT_LAMBDA_MAX_ATTEMPTS = 1
TEST_RUNNER = "tests.inside_cvat.stock.Runner"
