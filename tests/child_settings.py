"""Settings of the processes that tests start: database, Redis and media of the running test."""

from __future__ import annotations

import os
from pathlib import Path

from tests.settings import *  # noqa: F403

MEDIA_ROOT = Path(os.environ["CVAT_LAMBDA_TEST_MEDIA_ROOT"])
