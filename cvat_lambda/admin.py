"""Django looks for an app's admin here; each room has its own."""

from cvat_lambda.agents import admin as agents
from cvat_lambda.gateway import admin as functions
from cvat_lambda.requests import admin as requests

__all__ = ["agents", "functions", "requests"]
