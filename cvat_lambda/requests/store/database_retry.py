"""Retry a transaction while the database does not answer."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection

from cvat_lambda.errors import EngineUnavailable

logger = logging.getLogger(__name__)

GIVE_UP_AFTER_S = 120.0


def retry_on_database_error(
    attempt: Callable[[], None], *, wait: Callable[[float], None], request_id: str
) -> None:
    """Run a transaction, and again after a lost connection, a deadlock or a lock timeout.

    ``attempt`` must find out whether an earlier attempt committed: the answer to a COMMIT can be
    lost. ``wait(s)`` sleeps, and raises if the run was aborted. Raise EngineUnavailable after
    `GIVE_UP_AFTER_S` seconds.
    """
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    delay_s = 0.05
    while True:
        try:
            attempt()
            return
        except (OperationalError, InterfaceError) as exc:
            logger.warning(
                "The database did not take a change of request %s, trying again: %s",
                request_id,
                exc,
                extra={"action": "change_retried"},
            )
            connection.close()
            if time.monotonic() > give_up_at:
                raise EngineUnavailable("the database does not answer") from exc
            wait(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(2.0, delay_s * 2)
