"""The entry points of the function. Its own code is in ``model.py``."""

from common.entry import handler, init_context

__all__ = ["handler", "init_context"]
