"""Django looks for an app's admin here; each room has its own."""

from cvat_lambda.gateway import admin as functions
from cvat_lambda.requests import admin as requests

__all__ = ["functions", "requests"]
