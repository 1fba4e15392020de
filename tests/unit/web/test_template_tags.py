"""The filters and tags of the pages."""

from __future__ import annotations

import pytest

from cvat_lambda.web.templatetags.console import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (7169.0, "119 min"),
        (7200.0, "2 h 0 min"),
        (11100.0, "3 h 5 min"),
    ],
)
def test_duration_is_shown_in_seconds_minutes_or_hours(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
