"""Numbers in query strings: text that is not a number, and large numbers, answer 400."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cvat_lambda.engine.standalone import models
from cvat_lambda.rest.queries import whole_number

ENDLESS = "9" * 5000  # Python's int() raises ValueError for so many digits


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks?project_id={}",
        "/api/jobs?task_id={}",
        "/api/labels?job_id={}",
        "/api/tasks/{task}/data?type=frame&number={}",
        "/api/tasks/{task}/data?type=chunk&number={}",
        "/api/jobs/{job}/data?type=chunk&index={}",
        "/api/lambda/requests?task={}",
    ],
)
def test_invalid_number_in_a_query_answers_400(
    client: Client,
    alice: User,
    task: models.Task,
    jobs: list[models.Job],
    path: str,
) -> None:
    client.force_login(alice)
    for wrong in (ENDLESS, "-1", "1.5", "x", "2147483648"):
        answer = client.get(path.format(wrong, task=task.pk, job=jobs[0].pk))
        assert answer.status_code == 400, (wrong[:20], answer.content)
        assert len(answer.content) < 200, wrong[:20]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("255", 255), ("256", None), ("", None), ("+1", None), ("²", None)],
)
def test_whole_number_up_to_the_limit_is_read_and_others_are_none(
    text: str, number: int | None
) -> None:
    assert whole_number(text, 255) == number
    assert whole_number("0" * 5000 + text, 255) == (0 if text == "" else number)
