"""Records of the deployments of a function, shown in its object and written to its log."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from pathlib import Path

from cvat_lambda.runtime.logs import append_line
from cvat_lambda.runtime.spec.fields import JsonObject


class DeployLog:
    """The newest records of one function's deployments, in Nuclio's format."""

    def __init__(self, log_path: Path) -> None:
        self.records: deque[JsonObject] = deque(maxlen=500)
        self._log_path = log_path

    def add(self, level: str, message: str) -> None:
        """Keep a record and write it to the log."""
        self.records.append(
            {"level": level, "time": time.time() * 1000, "name": "deployer", "message": message}
        )
        with contextlib.suppress(OSError):
            append_line(self._log_path, level, message)
