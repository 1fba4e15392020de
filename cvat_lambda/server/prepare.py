"""``python -m cvat_lambda.server.prepare``: what is done once before the server starts.

It checks the settings, migrates the database, and deletes media that belong to no task.
"""

from __future__ import annotations

import django
from django.core.management import call_command


def main() -> None:
    django.setup()
    call_command("migrate", interactive=False, skip_checks=False)
    call_command("collect_media")


if __name__ == "__main__":
    main()
