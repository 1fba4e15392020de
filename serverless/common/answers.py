"""The answers of a function: JSON with status 200, or a sentence with status 400.

A caller that sent a binary body gets one as the answer (see `common.binary`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from common import binary
from common.errors import BadInput, EmbeddingUnknown, StateUnknown
from common.inputs import is_binary, read_body

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.platform import Context, Event


def answer(context: Context, event: Event, run: Callable[[dict[str, Any]], object]) -> Any:
    """Return the response with the result of ``run(body)``.

    Where ``run`` raises BadInput, the status is 400 and the body ``{"error": sentence}``. Where it
    raises StateUnknown or EmbeddingUnknown, the status is 410. The body has a ``code``, and names
    the objects whose states are unknown.
    """
    try:
        with binary.accepted(is_binary(event)):
            return _success(context, run(read_body(event)))
    except BadInput as error:
        return respond(context, {"error": str(error)}, status=400)
    except StateUnknown as error:
        gone = {"error": str(error), "code": "state_unknown", "objects": error.objects}
        return respond(context, gone, status=410)
    except EmbeddingUnknown as error:
        gone = {"error": str(error), "code": "embedding_unknown"}
        return respond(context, gone, status=410)


def _success(context: Context, result: object) -> Any:
    if not binary.is_accepted():
        return respond(context, result)
    return context.Response(
        body=binary.encode(result), headers={}, content_type=binary.CONTENT_TYPE, status_code=200
    )


def respond(context: Context, payload: object, *, status: int = 200) -> Any:
    """Return ``payload`` as a JSON response.

    The JSON is made here because Nuclio's own conversion changes lists and numpy numbers.
    """
    return context.Response(
        body=json.dumps(payload, separators=(",", ":"), allow_nan=False),
        headers={},
        content_type="application/json",
        status_code=status,
    )


def rectangle(
    label: str, box: NDArray[np.floating], confidence: float | np.floating
) -> dict[str, Any]:
    """Return a detector's item of type rectangle; ``confidence`` in [0, 1], points in pixels."""
    return {
        "label": label,
        "type": "rectangle",
        "points": [round(float(value), 2) for value in box],
        "confidence": round(float(confidence), 4),
    }
