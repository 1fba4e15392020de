"""CVAT's own tests of lambda_manager that fail with this app on purpose.

For each test: a part of the failed assertion's message, and the reason.
"""

from __future__ import annotations

from typing import Final

_UNKNOWN = "a call does not ask the platform, so a function that its list never had is unknown"
_REFUSED = "the test starts an interactor in the background, or asks for a threshold of 55"
_WAITS = "a call is tried, and a request waits until the function has started"

_API: Final = "test_api_v2_lambda_"

DIFFERENCES: Final[dict[str, tuple[str, str]]] = {
    f"{_API}functions_read_negative": ("404 != 500", _UNKNOWN),
    f"{_API}functions_create_negative": ("404 != 500", _UNKNOWN),
    f"{_API}requests_create_negative": ("404 != 500", _UNKNOWN),
    f"{_API}functions_create_function_is_not_ready": ("200 != 500", _WAITS),
    f"{_API}requests_create_is_not_ready": ("200 != 500", _WAITS),
    f"{_API}functions_create_interactor": (
        "502 != 200",
        "the test's function answers points without a mask, which CVAT's pages cannot use",
    ),
    f"{_API}functions_create_reid": (
        "400 != 200",
        "the test sends a polygon of nine numbers; re-identification joins rectangles",
    ),
    f"{_API}functions_list_negative": (
        "'test-model-has-non-unique-labels'",
        "a function that names a label twice is listed with the first one",
    ),
    f"{_API}requests_create": ("400 != 200", _REFUSED),
    f"{_API}requests_read": ("400 != 200", _REFUSED),
    f"{_API}requests_delete_finished_request": (
        "200 != 404",
        "an ended request stays in the list",
    ),
    "test_can_run_offline_reid_function_on_whole_task": (
        "1 != 0",
        "a job with one frame has no rectangles to join",
    ),
}
