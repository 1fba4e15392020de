"""What a function says when it cannot answer."""

from __future__ import annotations


class BadInput(ValueError):
    """The caller's body cannot be answered; the message is one sentence meant for that caller."""


class WeightsMissing(RuntimeError):
    """A weights file is not where the function looks for it; the message says where that is."""
