"""Tables of permissions: method, path, body, and the status that each person gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from tests.conftest import ClientFor

Row = tuple[str, str, Any, tuple[int, ...]]
Send = Callable[[Client, str, str, Any], Any]  # method, path and body; returns the response


def wrong_cases(
    table: Iterable[Row], people: Sequence[User | None], client_for: ClientFor, send: Send
) -> list[str]:
    """Send each row as each person. Return a line for each status that the row does not have.

    What a case writes to the database is undone before the next one. A view that raises an error
    is a case with the status 500; the log has the traceback.
    """
    wrong = []
    for method, path, body, statuses in table:
        for person, expected in zip(people, statuses, strict=True):
            with _rolled_back():
                client = client_for(person)
                client.raise_request_exception = False
                answer = send(client, method, path, body)
            if answer.status_code != expected:
                case = f"{method} {path} {body} as {person or 'anonymous'}"
                text = getattr(answer, "content", b"")[:200]  # a stream has no content
                wrong.append(f"{case}: {answer.status_code} instead of {expected}: {text!r}")
    return wrong


@contextmanager
def _rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
