"""Write the tracks of a track request that was cancelled, as far as they were followed."""

from __future__ import annotations

import logging

from cvat_lambda.engine import get_engine
from cvat_lambda.errors import LambdaError
from cvat_lambda.functions.spec import Kind
from cvat_lambda.requests.run.lease import Lease
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.run.track import TrackWork
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import Request, Status

logger = logging.getLogger(__name__)


def keep_tracks(request: Request) -> None:
    """Write what was tracked before a cancel. No worker runs the shards any more.

    A shard whose task or function cannot be read is left out.
    """
    if request.function_kind != Kind.TRACKER.value:
        return
    for shard in request.shards.filter(status=Status.CANCELLED, done__gt=0):
        try:
            run = load_run(Lease(shard_id=shard.pk, request_id=request.pk, token=""))
            work = TrackWork(run)
            work.prepare_finish(lambda: None)
            with get_engine().atomic():
                lock_shards(request_id=request.pk)
                work.keep()
        except LambdaError as exc:
            logger.warning("The tracks of shard %s are not kept: %s", shard, exc.message)
