from __future__ import annotations

import numpy as np
import pytest
from common.networks.ssdlite import shrunk


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 400), (300, 400)), ((4000, 3000), (1200, 900)), ((5, 9000), (1, 1200))],
)
def test_only_large_images_are_scaled_down(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert shrunk(np.zeros((*size, 3), dtype=np.uint8)).shape == (*expected, 3)
