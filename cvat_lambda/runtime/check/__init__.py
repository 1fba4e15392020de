"""Is this folder a good function: linted, started, called with pictures, its answers judged."""

from __future__ import annotations

from cvat_lambda.runtime.check.run import Report, check_folder

__all__ = ["Report", "check_folder"]
