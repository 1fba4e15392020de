"""The standalone server's processes, all of them, started for real."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cvat_lambda.server.services import Options, Services


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """A server without functions, on a home of its own."""
    for name in ("CVAT_LAMBDA_REDIS_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    stale = tmp_path / "home" / "metrics" / "counter_host-1.db"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier server")
    with Services(Options(home=tmp_path / "home", port=0), say=lambda line: None) as running:
        yield running


def test_web_server_and_workers_count_in_one_place_that_is_empty_at_the_start(
    services: Services,
) -> None:
    """Workers counted in processes that nobody asked, so `/metrics` showed no frame at all."""
    folder = services.options.home / "metrics"
    assert not (folder / "counter_host-1.db").exists()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{services.url}/metrics", timeout=30) as answer:
        assert b"cvat_lambda_shapes_total 0.0" in answer.read()
    places = {
        child.name: psutil.Process(child.process.pid).environ().get("PROMETHEUS_MULTIPROC_DIR")
        for child in services._children
    }
    assert places.pop("redis") is None
    assert places == dict.fromkeys(("web", "worker-0", "recovery"), str(folder))
