"""Tests that need a CVAT server's code and services; ``script/test-cvat`` runs them.

Everywhere else they are left out, since there CVAT cannot be imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("cvat") is None:
    collect_ignore_glob = ["*.py"]


@pytest.fixture
def media_root(settings: Any) -> Path:
    """CVAT's own folders, which the settings have made."""
    return Path(settings.MEDIA_ROOT)


@pytest.fixture(autouse=True)
def clean_host(db: None) -> None:
    """Ids are used again after a test's transaction, so caches and queues must not outlive it."""
    import django_rq
    from django.core.cache import caches

    for cache in caches.all():
        cache.clear()
    django_rq.get_queue("annotation").connection.flushdb()


@pytest.fixture
def people(db: None) -> dict[str, Any]:
    """Alice, bob and charlie, ordinary users of CVAT."""
    from django.contrib.auth.models import Group, User

    group, _ = Group.objects.get_or_create(name="user")
    found = {}
    for name in ("alice", "bob", "charlie"):
        found[name] = User.objects.create_user(name, f"{name}@example.com", f"{name}-secret")
        found[name].groups.add(group)
    return found


@pytest.fixture
def host(people: dict[str, Any], tmp_path: Path) -> Any:
    """Makes tasks by CVAT's own API."""
    from tests.inside_cvat.host import Host

    return Host(people, tmp_path)


@pytest.fixture
def client_for(people: dict[str, Any]) -> Callable[[str], Any]:
    """An API client of a person."""
    from rest_framework.test import APIClient

    def make(name: str) -> Any:
        client = APIClient()
        client.force_login(people[name])
        return client

    return make
