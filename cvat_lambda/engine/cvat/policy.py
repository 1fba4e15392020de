"""A client of CVAT's policy server with pooled connections.

CVAT opens a new connection for each question, and a call asks two questions. This client sends the
same questions over connections that it keeps.

The rules are pure functions of the question, which holds all that they read: the user's group, role
and organization, and the owners and assignees of the task. Each HTTP request reads these from the
database. So a call does not repeat a question whose answer was "allowed" within the last seconds
(``KEPT_PERMISSIONS_S``): only new rules could answer otherwise, and a policy server itself loads
new rules seconds later. Refusals are not kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import requests
import urllib3
from cvat.apps.iam.permissions import OpenPolicyAgentPermission
from urllib3.exceptions import HTTPError

from cvat_lambda.conf import settings
from cvat_lambda.errors import EngineUnavailable

_HEADERS: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
_TIMEOUT: Final = urllib3.Timeout(connect=2.0, read=10.0)
_KEPT_QUESTIONS: Final = 4096

# Shared by all threads. A pooled connection that was closed is replaced by a new one.
connection_pool: Final = urllib3.PoolManager(
    num_pools=2, maxsize=8, retries=urllib3.Retry(1, redirect=0)
)


class PolicyUnavailable(EngineUnavailable):
    """CVAT's policy server does not answer, or lacks the rules of this app. Nothing is allowed."""

    retry_after_s = 5


class AllowedQuestions:
    """Questions that were answered with "allowed", and when. Safe for threads."""

    def __init__(self) -> None:
        self._asked_at: dict[tuple[str, str], float] = {}  # time.monotonic() by URL and question

    def is_fresh(self, url: str, question: str) -> bool:
        """Return whether a question need not be repeated."""
        asked_at = self._asked_at.get((url, question))
        return asked_at is not None and time.monotonic() - asked_at < settings.KEPT_PERMISSIONS_S

    def add(self, url: str, question: str, asked_at: float) -> None:
        """Keep a question that was sent at this time."""
        if len(self._asked_at) >= _KEPT_QUESTIONS:
            self._asked_at.clear()
        self._asked_at[url, question] = asked_at

    def clear(self) -> None:
        """Forget all questions."""
        self._asked_at.clear()


allowed_questions: Final = AllowedQuestions()


def allows_call(permission: Any) -> bool:
    """Return what `allows` returns, for a question that a person's next call asks again."""
    question = json.dumps(permission.payload)
    if allowed_questions.is_fresh(permission.url, question):
        return True
    asked_at = time.monotonic()
    allowed = allows(permission)
    if allowed:
        allowed_questions.add(permission.url, question, asked_at)
    return allowed


def allows(permission: Any) -> bool:
    """Return whether the policy server allows what a permission asks. Raise PolicyUnavailable."""
    with _translate_errors():
        if not permission.url.startswith("http://"):  # CVAT knows the certificates
            return bool(OpenPolicyAgentPermission.check_access(permission).allow)
        answer = connection_pool.request(
            "POST",
            permission.url,
            body=json.dumps(permission.payload).encode(),
            headers=_HEADERS,
            timeout=_TIMEOUT,
        )
        if answer.status != 200:
            raise PolicyUnavailable(f"CVAT's policy server answered with status {answer.status}")
        result = json.loads(answer.data)["result"]
        allow = result["allow"] if isinstance(result, dict) else result
        if not isinstance(allow, bool):
            raise ValueError(f"neither true nor false: {allow!r}")
        return allow


def allowed_rows(permission: Any, rows: Any) -> Any:
    """Return the rows of a query that a permission of CVAT allows. Raise PolicyUnavailable."""
    with _translate_errors():
        return permission.filter(rows)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (HTTPError, requests.ConnectionError, requests.Timeout) as exc:
        raise PolicyUnavailable("CVAT's policy server does not answer") from exc
    except KeyError as exc:  # OPA answers `{}` for a package that it does not have
        raise PolicyUnavailable(
            "CVAT's policy server has not loaded the rules of this app yet: it does so within"
            " seconds after the start of CVAT's server; restart it if this lasts"
        ) from exc
    except (ValueError, TypeError) as exc:
        raise PolicyUnavailable("CVAT's policy server sent an unexpected answer") from exc
