"""``python -m cvat_lambda.server.prepare``: what is done once before the server starts.

It checks the settings, migrates the database, deletes media that belong to no task, and creates the
first account. ``--login-fd`` is a file descriptor to which it writes how to log in.
"""

from __future__ import annotations

import argparse
import os
import sys

import django
from django.conf import settings
from django.core.management import CommandError, call_command


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cvat_lambda.server.prepare")
    parser.add_argument("--login-fd", type=int)
    arguments = parser.parse_args()
    django.setup()
    try:
        call_command("migrate", interactive=False, skip_checks=False)
        call_command("collect_media")
    except CommandError as error:  # wrong settings, too: the user reads this at the start
        sys.exit(str(error))
    if arguments.login_fd is not None:
        from cvat_lambda.server.account import ensure_account

        with os.fdopen(arguments.login_fd, "w") as login:
            login.write(ensure_account(settings.HOME).hint())


if __name__ == "__main__":
    main()
