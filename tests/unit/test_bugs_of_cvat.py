"""The bugs of CVAT 2.54's lambda_manager, and the tests that this app does not have them.

The tests are named ``file::function``. If one is renamed or removed, a test here fails.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
API = "api/lambda"
RUNS = "integration/requests"

BUGS: dict[int, tuple[str, list[str]]] = {
    1: (
        "every frame of a request fetches and opens its whole chunk again",
        [
            f"{RUNS}/test_frame_reading.py::test_a_request_reads_each_image_once",
            f"{RUNS}/test_frame_reading.py::test_a_request_decodes_each_frame_of_a_video_once",
            "inside_cvat/test_frames.py::test_stream_reads_each_chunk_once",
        ],
    ),
    2: (
        "one call in flight, no retry, and one failed frame fails the request",
        [
            f"{RUNS}/test_detect.py::test_invocations_in_flight_reach_the_concurrency_limit",
            f"{RUNS}/test_failures.py"
            "::test_invocation_of_a_busy_function_is_retried_until_it_answers",
            f"{RUNS}/test_failures.py::test_failed_frame_stores_its_cause_and_the_others_are_done",
        ],
    ),
    3: (
        "cleanup deletes everything before the function has answered anything",
        [
            f"{RUNS}/test_failures.py::test_function_that_is_down_from_the_start_deletes_nothing",
            f"{RUNS}/test_replace.py::test_failed_frames_keep_their_annotations",
            f"{API}/test_requests.py::test_invalid_mapping_is_refused_before_anything_is_deleted",
        ],
    ),
    4: (
        "a second run doubles the shapes",
        [f"{RUNS}/test_replace.py::test_second_run_replaces_shapes_without_duplicates"],
    ),
    5: (
        "a cancelled request saves what it had and comes back as finished",
        [
            f"{RUNS}/test_cancel.py"
            "::test_cancel_while_invocations_are_in_flight_stops_at_once_and_writes_nothing",
            f"{API}/test_requests.py::test_cancelled_request_stays_listed_as_cancelled",
        ],
    ),
    6: (
        "a request after a cancelled one runs with the parameters of the other",
        [
            f"{RUNS}/test_cancel.py::test_request_after_a_cancel_runs_with_its_own_parameters",
            f"{API}/test_requests.py::test_request_after_a_cancelled_one_has_its_own_parameters",
            f"{API}/test_requests.py::test_ids_are_random_and_safe_in_a_path",
        ],
    ),
    7: (
        "anyone reads and cancels anyone's request",
        [
            f"{API}/test_permissions.py"
            "::test_request_of_another_user_is_answered_like_an_unknown_one"
        ],
    ),
    8: (
        "a task beside a job need not be the job's",
        [
            f"{API}/test_requests.py::test_request_with_a_job_of_another_task_is_refused",
            f"{API}/test_calls.py::test_call_with_a_job_of_another_task_is_refused",
        ],
    ),
    9: (
        "the right to see a task is enough to write to it",
        [
            f"{API}/test_permissions.py"
            "::test_user_who_may_view_but_not_edit_a_task_cannot_start_a_request_on_it",
        ],
    ),
    10: (
        "two jobs of a task cannot be annotated at once",
        [f"{API}/test_requests.py::test_requests_on_two_jobs_of_a_task_are_both_queued"],
    ),
    11: (
        "progress of a job is that of its task; a part of the frames is kept in memory to the end",
        [
            f"{API}/test_requests.py::test_progress_counts_frames_of_the_request_only",
            f"{RUNS}/test_detect.py::test_frames_are_written_in_batches_during_the_run",
        ],
    ),
    12: (
        "a threshold of 0 is dropped; the range in an error is one too long",
        [
            f"{API}/test_calls.py::test_threshold_of_zero_is_sent_to_the_function",
            f"{RUNS}/test_detect.py::test_threshold_of_zero_is_sent_to_the_function_of_a_request",
            f"{API}/test_calls.py::test_frame_outside_the_task_is_refused_with_the_range_of_frames",
        ],
    ),
    13: (
        "events of functions name neither task nor job",
        [
            f"{API}/test_calls.py::test_function_called_signal_has_task_and_job",
            f"{RUNS}/test_create_and_find.py::test_request_created_signal_names_task_and_job",
        ],
    ),
    14: (
        "/api/requests does not know these requests (CVAT's list: needs a CVAT to run in; the "
        "standalone server's list is of uploads)",
        ["inside_cvat/test_server.py::test_request_is_in_cvats_list_of_its_owner_only"],
    ),
    15: (
        "the payload of a job is a pickled object of the app",
        [
            f"{RUNS}/test_recovery.py::test_rq_job_of_a_request_holds_only_an_id",
        ],
    ),
    16: (
        "a killed worker fails the request, and nothing is resumed",
        [
            f"{RUNS}/test_recovery.py"
            "::test_shard_of_a_worker_killed_by_sigkill_is_finished_by_another",
            f"{RUNS}/test_random_kills.py::test_random_kills_lose_and_duplicate_nothing",
        ],
    ),
}


def names_of(path: Path) -> set[str]:
    """Return the names of the tests of a file. It is not imported, because some need CVAT."""
    tree = ast.parse(path.read_text(), str(path))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_bug_has_its_tests() -> None:
    assert list(BUGS) == list(range(1, 17))
    assert all(tests for _, tests in BUGS.values())


@pytest.mark.parametrize("number", BUGS)
def test_tests_of_a_bug_exist(number: int) -> None:
    for test in BUGS[number][1]:
        file, _, name = test.partition("::")
        assert (TESTS / file).is_file(), test
        assert name.startswith("test_"), test
        assert name in names_of(TESTS / file), test
