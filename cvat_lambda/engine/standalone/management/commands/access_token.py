"""``manage.py access_token USER``: make a personal access token for a program."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from cvat_lambda.engine.standalone.models import AccessToken


class Command(BaseCommand):
    help = "Make a personal access token and print it; it cannot be shown again."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("user", help="whose token it is")
        parser.add_argument("--name", default="", help="what it is for")
        parser.add_argument("--read-only", action="store_true", help="it may change nothing")
        parser.add_argument(
            "--days", type=int, default=365, help="how long it is valid (default 365)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()._default_manager
        user = users.filter(**{get_user_model().USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"user '{options['user']}' was not found")
        days = options["days"]
        if not 1 <= days <= 36500:
            raise CommandError("--days must be from 1 to 36500")
        _, key = AccessToken.create(
            user,
            name=options["name"],
            read_only=options["read_only"],
            expires_at=timezone.now() + timedelta(days=days),
        )
        self.stdout.write(key)
