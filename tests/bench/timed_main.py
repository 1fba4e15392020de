"""The ``main.py`` of a function whose time outside its networks is measured.

`tests.bench.functions` copies this file into the folder. Each answer names in the header
``X-Processor-Time`` the seconds of processor time in the networks and in the whole handler. The
cross-correlation of the siamese tracker is the last layer of its network, and counts as such.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from common import entry
from common.devices import OpenVinoNetwork

LAYERS_IN_PYTHON = ("correlate", "best_near_the_middle")  # functions of a `model.py`
in_networks = 0.0  # of the present call; a worker answers one call at a time


def timed(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a network that adds its processor time to `in_networks`."""

    def run(*inputs: Any, **named: Any) -> Any:
        global in_networks
        began = time.process_time()
        try:
            return method(*inputs, **named)
        finally:
            in_networks += time.process_time() - began

    return run


for name in ("__call__", "run_named"):
    setattr(OpenVinoNetwork, name, timed(getattr(OpenVinoNetwork, name)))


def init_context(context: Any) -> None:
    """Load the model, and count the layers that are functions of its module."""
    entry.init_context(context)
    model = importlib.import_module("model")
    for name in LAYERS_IN_PYTHON:
        if hasattr(model, name):
            setattr(model, name, timed(getattr(model, name)))


def handler(context: Any, event: Any) -> Any:
    """Answer a call, and add the header."""
    global in_networks
    in_networks, began = 0.0, time.process_time()
    response = entry.handler(context, event)
    whole = time.process_time() - began
    response.headers["X-Processor-Time"] = f"{in_networks:.6f} {whole:.6f}"
    return response
