"""Functions that ``new`` writes for models of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.runtime.harness import Runtime, running


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A runtime to which the tests deploy."""
    with running([], tmp_path_factory.mktemp("served")) as runtime:
        yield runtime
