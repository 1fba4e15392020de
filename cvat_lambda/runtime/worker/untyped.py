"""The two libraries of a function's environment that have no usable type hints."""

from __future__ import annotations

import importlib
from typing import Any

msgpack: Any = importlib.import_module("msgpack")
sdk: Any = importlib.import_module("nuclio_sdk")
sdk_events: Any = importlib.import_module("nuclio_sdk.event")
sdk_json: Any = importlib.import_module("nuclio_sdk.json_encoder")
