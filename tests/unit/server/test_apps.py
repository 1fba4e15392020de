"""The app of the standalone server."""

from __future__ import annotations

import gc

from cvat_lambda import server
from cvat_lambda.server.apps import ServerConfig


def test_modules_are_excluded_from_the_search_for_garbage_after_the_start() -> None:
    gc.unfreeze()
    try:
        config = ServerConfig("cvat_lambda.server", server)
        assert not gc.isenabled()
    finally:
        config.ready()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
