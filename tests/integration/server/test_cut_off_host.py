"""A host of workers that is cut off from the network while its processes run."""

from __future__ import annotations

import pytest

from tests.bench.hosts import in_namespaces
from tests.network_hosts import obstacle

FRAMES = 200
LIMIT_S = 800  # with an idle machine it takes about a minute


def test_host_cut_off_from_the_network_loses_no_frame_and_adds_none_twice() -> None:
    if reason := obstacle():
        pytest.skip(reason)
    found = in_namespaces(["--frames", str(FRAMES), "--cut"], timeout_s=LIMIT_S)
    assert found["done_at_the_cut"] < FRAMES  # the host was cut off in mid-run
    assert found["done"] == FRAMES
    assert found["shapes"] == list(range(FRAMES))
