"""A host of workers that is cut off from the network while its processes run."""

from __future__ import annotations

import pytest

from tests.bench.hosts import in_namespaces
from tests.network_hosts import obstacle


@pytest.mark.skipif(bool(obstacle()), reason=obstacle())
def test_host_cut_off_from_the_network_loses_no_frame_and_adds_none_twice() -> None:
    found = in_namespaces(["--frames", "200", "--cut"])
    assert found["done_at_the_cut"] < 200  # the host was cut off in mid-run
    assert found["done"] == 200
    assert found["shapes"] == list(range(200))
