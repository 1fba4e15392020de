from __future__ import annotations

import io

import pytest

from cvat_lambda.server.progress import ProgressBar, duration


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3725, "62:05")])
def test_duration_is_formatted_as_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_bar_shows_frames_rate_and_remaining_time() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream=stream, width=10)
    bar.show(done=4, failed=1, total=10, rate=2.5, eta_s=2.0)
    assert stream.getvalue() == ("[#####.....] 5/10 frames, 1 failed, 2.5 frames/s, 0:02 to go\n")


def test_progress_bar_writes_an_unchanged_state_once() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream=stream)
    for _ in range(3):
        bar.show(done=1, failed=0, total=2, rate=None, eta_s=None)
    assert stream.getvalue().count("\n") == 1


def test_progress_bar_of_a_request_without_frames_is_full() -> None:
    stream = io.StringIO()
    ProgressBar(stream=stream, width=4).show(done=0, failed=0, total=0, rate=None, eta_s=None)
    assert stream.getvalue() == "[####] 0/0 frames\n"
