"""Finds the handler and its init_context by Nuclio's rules."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

_FORM = re.compile(r"^([\w|-]+(\.[\w|-]+)*):(\w+)$")


class HandlerError(Exception):
    """The function's code has no handler of that name."""


def load_handler(name: str) -> Any:
    """Import ``module[.sub]:callable``; raise HandlerError, or any error of the import."""
    form = _FORM.match(name)
    if form is None:
        raise HandlerError(f"handler {name!r} must look like module:callable")
    module_name, attribute = form[1], form[3]
    module = importlib.import_module(module_name)
    handler = getattr(module, attribute, None)
    if not callable(handler):
        raise HandlerError(f"module {module_name!r} has no callable {attribute!r}")
    return handler


def find_init_context(handler: Any) -> Any | None:
    """Return the init_context of the module in which the handler was defined, or None.

    As in Nuclio this is not the module that spec.handler names: a handler that is imported from
    another module is used with the init_context of that module.
    """
    module = sys.modules.get(getattr(handler, "__module__", ""))
    return getattr(module, "init_context", None)
