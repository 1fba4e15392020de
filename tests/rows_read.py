"""Counts the rows that become instances of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import Model
from django.db.models.signals import post_init


@contextmanager
def rows_read(*tables: type[Model]) -> Iterator[Counter[str]]:
    """Yield the number of instances that are made in the block, by the name of the model."""
    found: Counter[str] = Counter()

    def count(sender: type[Model], **_: Any) -> None:
        found[sender.__name__] += 1

    for table in tables:
        post_init.connect(count, sender=table)
    try:
        yield found
    finally:
        for table in tables:
            post_init.disconnect(count, sender=table)
