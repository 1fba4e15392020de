"""The errors of a function."""

from __future__ import annotations

from collections.abc import Sequence


class BadInput(ValueError):
    """The caller's body is wrong. The message is one sentence for the caller."""


class StateUnknown(ValueError):
    """States of a tracker are not in memory any more. The app then starts the objects anew."""

    def __init__(self, objects: Sequence[int]) -> None:
        super().__init__(f"the states of {len(objects)} objects are not in memory; send the shapes")
        self.objects = list(objects)  # their numbers in the call


class EmbeddingUnknown(ValueError):
    """The embedding of a key is not in memory any more. The app then sends the embedding."""


class WeightsMissing(RuntimeError):
    """A weights file is missing. The message states the path where it is expected."""
