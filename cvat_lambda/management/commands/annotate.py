"""``manage.py annotate``: start a request with any function, and follow its progress.

The request passes through the API of the server, as the given user, so it has the same checks,
rights and errors as one that is sent over HTTP.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rest_framework.test import APIClient

from cvat_lambda.requests.store.models import LIVE, Request, Status
from cvat_lambda.requests.store.progress import progress_of
from cvat_lambda.server.progress import ProgressBar

POLL_S = 0.5
PATH = "/api/lambda/requests"


class Command(BaseCommand):
    """Sends a request to the API, and shows its progress until it ends."""

    help = "Run a detector, tracker or ReID function over a task, jobs, tasks or a project."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("function", help="id of the function")
        parser.add_argument("--user", required=True, help="name of the user who starts it")
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--task", type=int, nargs="+", metavar="ID", help="one task or several")
        scope.add_argument("--job", type=int, nargs="+", metavar="ID", help="one job or several")
        scope.add_argument("--project", type=int, metavar="ID", help="all tasks of a project")
        parser.add_argument(
            "--set",
            nargs=2,
            action="append",
            default=[],
            metavar=("NAME", "VALUE"),
            help="another member of the request (docs/requests.md); VALUE is JSON or "
            "text, or @FILE for the JSON in a file",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="store nothing; show what would be done"
        )
        parser.add_argument(
            "--no-wait", action="store_true", help="show the request's id and do not wait"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        body = {"function": options["function"], **_scope(options)}
        for name, value in options["set"]:
            body[name] = _value(value)
        if options["dry_run"]:
            body["dry_run"] = True
        made = _send(options["user"], body)
        if options["dry_run"] or options["no_wait"]:
            self.stdout.write(json.dumps(made, indent=2) if options["dry_run"] else made["id"])
            return
        try:
            self._follow(made["id"])
        except KeyboardInterrupt:
            self.stdout.write(f"\nRequest {made['id']} continues in the background.")

    def _follow(self, request_id: str) -> None:
        """Show the progress until the request ends. Raise CommandError if not all is done."""
        bar = ProgressBar()
        while True:
            request = Request.objects.get(pk=request_id)
            progress = progress_of([request])[request_id]
            bar.show(
                done=request.done + request.skipped,
                failed=request.failed,
                total=request.total,
                rate=progress.rate,
                eta_s=progress.eta_s,
            )
            if request.status not in LIVE:
                break
            time.sleep(POLL_S)
        bar.end()
        self.stdout.write(
            f"Request {request_id} {request.status}: {request.done} frames done, "
            f"{request.failed} failed, {request.skipped} skipped, "
            f"{request.shapes} annotations added"
        )
        if request.status != Status.FINISHED or request.failed:
            raise CommandError(request.error_message or "Not all frames are done")


def _scope(options: dict[str, Any]) -> dict[str, Any]:
    """Return the members of the request that name what to annotate."""
    for name in ("task", "job"):
        ids = options[name]
        if ids:
            return {name: ids[0]} if len(ids) == 1 else {f"{name}s": ids}
    return {"project": options["project"]}


def _value(text: str) -> Any:
    """Return JSON, or the text if it is none. Raise CommandError for an unreadable file."""
    if text.startswith("@"):
        try:
            return json.loads(Path(text[1:]).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise CommandError(f"{text[1:]} cannot be read as JSON: {exc}") from exc
    try:
        return json.loads(text)
    except ValueError:
        return text


def _send(name: str, body: dict[str, Any]) -> Any:
    """Send a request to the API as a user; return its answer. Raise CommandError."""
    users = get_user_model()
    user = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
    if user is None:
        raise CommandError(f"there is no user {name!r}")
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user=user)
    answer = client.post(PATH, body, format="json", secure=True, HTTP_HOST=_host())
    if answer.status_code >= 300:
        raise CommandError(_reason(answer))
    return answer.json()


def _host() -> str:
    """Return a name that the server accepts in the Host header."""
    named = (host for host in django_settings.ALLOWED_HOSTS if not host.startswith(("*", ".")))
    return next(named, "localhost")


def _reason(answer: Any) -> str:
    try:
        told = answer.json()
    except ValueError:
        return f"the server answered with status {answer.status_code}"
    if isinstance(told, dict) and "message" in told:
        return str(told["message"])
    return json.dumps(told)
