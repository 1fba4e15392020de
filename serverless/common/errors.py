"""The errors of a function."""

from __future__ import annotations


class BadInput(ValueError):
    """The caller's body is wrong. The message is one sentence for the caller."""


class WeightsMissing(RuntimeError):
    """A weights file is missing. The message states the path where it is expected."""
