"""What a page is told otherwise than a program: CVAT's (2.54) leave out, or misread, some answers.

Two rules more stand where their words are: `functions.describe` (a name that says the state) and
`interactive.tracker` (a rectangle without area in place of a null).
"""

from __future__ import annotations

import time
from typing import Any, Final

from django.utils import timezone
from rest_framework.request import Request as HttpRequest

from cvat_lambda.api.render import request_to_json
from cvat_lambda.errors import RequestNotFound
from cvat_lambda.requests.store.models import LIVE, Request, Status

SOON_S = 1.0  # since its creation: so long a page waits for news of a request
_LOOK_S: Final = 0.1


def is_browser(request: HttpRequest) -> bool:
    """Whether a page asks: every browser calls itself so, and the SDK and scripts do not."""
    return str(request.headers.get("User-Agent", "")).startswith("Mozilla/")


def request_for_browser(found: Request) -> dict[str, Any]:
    """A request as JSON, for CVAT's page, which says "accomplished" of each state it does not know.

    It only asks about a cancelled request where somebody else has cancelled it.
    """
    _wait_for_news(found)
    shown = request_to_json(found)
    if found.status == Status.CANCELLED:
        shown.update(status="failed", exc_info="The request was cancelled.")
    return shown


def _wait_for_news(found: Request) -> None:
    """Wait a moment for a new request, to begin at least; a short one ends meanwhile.

    CVAT's page asks right after it has started a request, then again after 10 seconds, but after
    30 where it hears "queued", as it always would: a worker needs some tenths of a second.
    """
    while found.status in LIVE:
        age_s = (timezone.now() - found.created_at).total_seconds()
        if not 0 <= age_s < SOON_S:
            return
        time.sleep(_LOOK_S)
        try:
            found.refresh_from_db()
        except Request.DoesNotExist as exc:
            raise RequestNotFound from exc
