"""``manage.py prune_requests``: delete old requests."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cvat_lambda.conf import settings
from cvat_lambda.requests.control.prune import prune


class Command(BaseCommand):
    """Deletes requests that ended CVAT_LAMBDA_KEEP_REQUESTS_DAYS ago; cron may run it."""

    help = "Delete requests that ended long ago; shapes keep their provenance."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, default=settings.KEEP_REQUESTS_DAYS, help="default: %(default)s"
        )

    def handle(self, *args: Any, days: int, **options: Any) -> None:
        if days < 0:
            raise CommandError("--days takes 0 or more")
        gone = prune(days)
        self.stdout.write(
            f"{gone.requests} requests, {gone.outcomes} outcomes and the provenance of "
            f"{gone.provenance} vanished annotations deleted"
        )
