"""Checks a function folder: lints it, starts it, calls it and checks the answers."""

from __future__ import annotations

from cvat_lambda.runtime.check.run import Report, check_folder

__all__ = ["Report", "check_folder"]
