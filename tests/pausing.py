"""A Django app for workers of tests: it pauses a request after a number of outcomes.

Tests kill workers between the last outcome of a request and its end. Without the pause, this time
is a few milliseconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from django.apps import AppConfig

LONGEST_S = 240.0


class Pausing(AppConfig):
    """The file ``CVAT_LAMBDA_TEST_PAUSE_AT`` has the number of outcomes at which to pause."""

    name = "tests.pausing"

    def ready(self) -> None:
        from cvat_lambda import signals

        signals.frames_written.connect(pause, dispatch_uid="tests.pausing")


def pause(*, request_id: str, **_: object) -> None:
    """Wait while the request has at least as many outcomes as the file says."""
    from cvat_lambda.requests.store.models import Request

    counts = Request.objects.values_list("done", "failed", "skipped").get(pk=request_id)
    limit = Path(os.environ["CVAT_LAMBDA_TEST_PAUSE_AT"])
    end = time.monotonic() + LONGEST_S
    while sum(counts) >= int(limit.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
