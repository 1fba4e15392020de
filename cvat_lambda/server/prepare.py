"""``python -m cvat_lambda.server.prepare``: what is done once before the server starts.

It checks the settings, migrates the database, and deletes media that belong to no task.
"""

from __future__ import annotations

import sys

import django
from django.core.management import CommandError, call_command


def main() -> None:
    django.setup()
    try:
        call_command("migrate", interactive=False, skip_checks=False)
        call_command("collect_media")
    except CommandError as error:  # wrong settings, too: the user reads this at the start
        sys.exit(str(error))


if __name__ == "__main__":
    main()
