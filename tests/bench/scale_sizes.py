"""The space that rows take in the database, and queued requests in Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

APP_TABLES: Final = ("outcome", "request", "shard", "provenance", "function")
TABLES: Final = (
    *(f"cvat_lambda_{name}" for name in APP_TABLES),
    *(f"engine_{name}" for name in ("labeledshape", "trackedshape", "image")),
)
QUEUED: Final = 1000


def measure_sizes() -> Iterator[tuple[str, float]]:
    """Yield names and bytes a row: of the tables, their indexes, and of RQ jobs in Redis."""
    from django.db import connection

    with connection.cursor() as cursor:
        for name in TABLES:
            cursor.execute(f"SELECT count(*) FROM {name}")
            rows = max(1, cursor.fetchone()[0])
            cursor.execute(_SIZES[connection.vendor], [name, name])
            of_table, of_indexes = cursor.fetchone()
            yield f"{name}, one row", of_table / rows
            yield f"{name}, indexes of one row", of_indexes / rows
    yield "one queued request in Redis", redis_bytes()


_SIZES: Final = {
    "postgresql": "SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)",
    "sqlite": "SELECT (SELECT sum(pgsize) FROM dbstat WHERE name = %s), (SELECT sum(pgsize) "
    "FROM dbstat WHERE name IN (SELECT name FROM sqlite_master "
    "WHERE tbl_name = %s AND type = 'index'))",
}


def redis_bytes() -> float:
    """Send requests to the queue. Return Redis' memory for one of them, in bytes."""
    import redis

    from cvat_lambda.requests.store import queue
    from cvat_lambda.requests.store.models import Request, Shard

    server: Any = redis.from_url(os.environ["CVAT_LAMBDA_REDIS_URL"])
    before = server.info("memory")["used_memory"]
    for number in range(QUEUED):
        request = Request.objects.create(
            id=f"queued-{number}", function_id="f", function_kind="detector", task_id=1
        )
        shard = Shard.objects.create(
            request=request,
            index=0,
            task_id=1,
            frames=[[0, 9]],
            first_frame=0,
            last_frame=9,
            rq_job_id=queue.new_job_id(request.pk, 0),
        )
        meta = {"user_id": 1, "function_id": "f", "task_id": 1}
        queue.send([shard], meta=meta, at_front=False)
    grown: int = server.info("memory")["used_memory"] - before
    Request.objects.filter(pk__startswith="queued-").delete()
    return grown / QUEUED
