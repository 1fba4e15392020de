"""The badge of a request: its state in words, and how good the state is."""

from __future__ import annotations

from cvat_lambda.requests.store.models import Request, Status


def badge_of(request: Request) -> dict[str, str]:
    """Return the text of the badge and its CSS class.

    A finished request whose frames failed in part is not shown as a success.
    """
    if request.status == Status.FINISHED and request.failed:
        frames = "frame" if request.failed == 1 else "frames"
        return {
            "text": f"finished with {request.failed} failed {frames}",
            "style": "failed" if 2 * request.failed >= request.total else "partly",
        }
    return {"text": str(request.status), "style": str(request.status)}
