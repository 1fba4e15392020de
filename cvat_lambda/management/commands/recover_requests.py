"""``manage.py recover_requests``: find stalled and lost requests, and queue them again."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, close_old_connections
from redis.exceptions import RedisError

from cvat_lambda.requests.control.recover import recover, try_recover


class Command(BaseCommand):
    """Recovers once, or at intervals until it is stopped."""

    help = "Queue stalled requests again, and those that the queue lost. Safe to run at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--loop", type=float, metavar="S", help="look every S seconds, until stopped"
        )

    def handle(self, *args: Any, loop: float | None = None, **options: Any) -> None:
        if loop is None:
            self._once()
            return
        if loop <= 0:
            raise CommandError("--loop takes a number of seconds above 0")
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        while not stopped.wait(loop):
            try_recover()
            close_old_connections()

    def _once(self) -> None:
        try:
            found = recover()
        except (DatabaseError, RedisError, OSError) as exc:
            raise CommandError(f"the database or the queue does not answer: {exc}") from exc
        self.stdout.write(
            f"{found.stalled} stalled and {found.lost} lost shards queued again, "
            f"{found.given_up} given up, {found.ended} requests ended, "
            f"{found.undone} undos finished"
        )
