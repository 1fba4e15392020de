"""The state in which a sequential run continues after the frame that it wrote last.

It is stored in the transaction that writes the frame, so a resumed run continues from exactly
there. It is compressed JSON, since the states of many functions are base64 text.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionAnswerInvalid
from cvat_lambda.requests.store.models import Checkpoint, Shard


def pack(state: Any) -> bytes:
    """Encode a state. Raise FunctionAnswerInvalid if it is larger than the setting allows."""
    data = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=1)
    if len(data) > settings.MAX_CHECKPOINT_BYTES:
        raise FunctionAnswerInvalid(
            f"the states of the tracked objects have {len(data)} bytes, more than "
            f"CVAT_LAMBDA_MAX_CHECKPOINT_BYTES ({settings.MAX_CHECKPOINT_BYTES}) allows"
        )
    return data


def save(shard: Shard, data: bytes) -> None:
    """Store the checkpoint of a shard, in the transaction that writes the frame's outcome."""
    Checkpoint.objects.update_or_create(shard=shard, defaults={"data": data})


def load(shard: Shard) -> Any:
    """Return the state after the frame that was written last; None before the first one."""
    found = Checkpoint.objects.filter(shard=shard).first()
    return None if found is None else json.loads(zlib.decompress(bytes(found.data)))
