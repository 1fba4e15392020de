"""Fixtures of tests that need the code and the services of a CVAT server.

``script/test-cvat`` runs them. Where CVAT cannot be imported they are not collected.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_django import Settings

if TYPE_CHECKING:
    from tests.inside_cvat.scenarios import CvatScenarios

if importlib.util.find_spec("cvat") is None:
    collect_ignore_glob = ["*.py"]


@pytest.fixture
def media_root(settings: Settings) -> Path:
    """The folder of CVAT's files, which the settings create."""
    return Path(settings.MEDIA_ROOT)


@pytest.fixture(autouse=True)
def empty_caches(db: None) -> None:
    """Empty CVAT's caches and queue. Ids are used again after each test."""
    import django_rq
    from django.core.cache import caches

    for cache in caches.all():
        cache.clear()
    django_rq.get_queue("annotation").connection.flushdb()


@pytest.fixture(autouse=True)
def no_receiver_fails() -> Iterator[None]:
    """Fail the test if a receiver of a signal raised: `send_robust` only logs its error."""
    failures: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failures.append(record.getMessage())

    logger, collector = logging.getLogger("django.dispatch"), Collector(logging.ERROR)
    logger.addHandler(collector)
    yield
    logger.removeHandler(collector)
    assert failures == []


@pytest.fixture
def people(db: None) -> dict[str, Any]:
    """Three users of CVAT: alice, bob and charlie."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    users: Any = get_user_model().objects
    group, _ = Group.objects.get_or_create(name="user")
    found = {}
    for name in ("alice", "bob", "charlie"):
        found[name] = users.create_user(name, f"{name}@example.com", f"{name}-secret")
        found[name].groups.add(group)
    return found


@pytest.fixture
def cvat(people: dict[str, Any], tmp_path: Path) -> CvatScenarios:
    """Creates tasks through CVAT's API."""
    from tests.inside_cvat.scenarios import CvatScenarios

    return CvatScenarios(people, tmp_path)


@pytest.fixture
def client_for(people: dict[str, Any]) -> Callable[[str], Any]:
    """Return a function that makes a logged-in API client."""
    from rest_framework.test import APIClient

    def make(name: str) -> Any:
        client = APIClient()
        client.force_login(people[name])
        return client

    return make
