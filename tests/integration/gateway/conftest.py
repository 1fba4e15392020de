from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from cvat_lambda.gateway.gateway import get_gateway

from .fake_nuclio import FakeNuclio, fake_nuclio


@pytest.fixture
def nuclio(settings: Settings) -> Iterator[FakeNuclio]:
    """A platform that the settings name. The gateway is reset after the test."""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0
    with fake_nuclio() as fake:
        settings.CVAT_LAMBDA_PLATFORM_URL = fake.url
        yield fake
        get_gateway().reset()
