"""Settings of the processes that tests start: database, Redis and media of the running test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cvat_lambda.conf import from_environment
from tests.settings import *  # noqa: F403

MEDIA_ROOT = Path(os.environ["CVAT_LAMBDA_TEST_MEDIA_ROOT"])
globals().update(from_environment())  # a test's variables override the test settings
if "CVAT_LAMBDA_TEST_PAUSE_AT" in os.environ:
    INSTALLED_APPS = [*INSTALLED_APPS, "tests.pausing.Pausing"]  # noqa: F405

# redis-py imports OpenTelemetry's SDK where it is installed, which takes a sixth of a process's
# start. It is installed for the tests of traces only, and they start no process.
sys.modules["opentelemetry.sdk"] = None  # type: ignore[assignment]
