"""Members of annotations that this version does not know, kept as they are.

A newer client may send members that only a newer CVAT reads. They survive a read and a write, so
that no client loses them. Each annotation keeps them as the text of a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from typing import Any, Final

from cvat_lambda.annotations.errors import DataError

MAX_LENGTH: Final = 4096  # characters of JSON an annotation


def unknown_members(raw: dict[str, Any], known: AbstractSet[str], path: str) -> str:
    """Return the other members as the text of a JSON object; "" if there are none.

    Raise DataError if they are too large.
    """
    if raw.keys() <= known:
        return ""
    others = {name: value for name, value in raw.items() if name not in known}
    text = json.dumps(others, separators=(",", ":"))  # ASCII only
    if len(text) > MAX_LENGTH:
        names = ", ".join(sorted(others))[:100]
        raise DataError(
            f"the members that this server does not know ({names}) take more than"
            f" {MAX_LENGTH} characters of JSON",
            path=path,
        )
    return text


def with_members(shown: dict[str, Any], extra: str) -> dict[str, Any]:
    """Return an annotation's JSON with its unknown members. Known ones have precedence."""
    return {**json.loads(extra), **shown} if extra else shown
