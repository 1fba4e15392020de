"""``manage.py revoke_access USER``: end the sessions and all keys of a user."""

from __future__ import annotations

import argparse
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.core.management.base import BaseCommand, CommandError

from cvat_lambda.engine.standalone.models import AccessToken


class Command(BaseCommand):
    help = "End the sessions, login keys and personal access tokens of a user."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("user", help="name of the user")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()._default_manager
        user = users.filter(**{get_user_model().USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"user '{options['user']}' was not found")
        tokens, _ = AccessToken.objects.filter(user=user).delete()
        sessions = 0
        for session in Session.objects.iterator():
            if session.get_decoded().get(SESSION_KEY) == str(user.pk):
                session.delete()
                sessions += 1
        self.stdout.write(f"Ended {tokens} tokens and {sessions} sessions of '{options['user']}'.")
