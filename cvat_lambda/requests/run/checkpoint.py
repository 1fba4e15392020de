"""The state in which a sequential run continues after the frame that it wrote last.

It is stored in the transaction that writes the frame, so a resumed run continues from exactly
there. It is compressed JSON, since the states of many functions are base64 text. The writer packs
the last state of a batch; the states of the frames before it are never encoded.
"""

from __future__ import annotations

import json
import marshal
import zlib
from typing import Any, Final

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionAnswerInvalid
from cvat_lambda.requests.store.models import Checkpoint, Shard

MARSHAL_WITHOUT_REFERENCES: Final = 2  # a later version writes repeated strings once


def pack(state: Any) -> bytes:
    """Encode a state. Raise FunctionAnswerInvalid if it is larger than the setting allows."""
    data = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=1)
    if len(data) > settings.MAX_CHECKPOINT_BYTES:
        raise FunctionAnswerInvalid(
            f"the states of the tracked objects have {len(data)} bytes, more than "
            f"CVAT_LAMBDA_MAX_CHECKPOINT_BYTES ({settings.MAX_CHECKPOINT_BYTES}) allows"
        )
    return data


def check_size(state: Any) -> None:
    """Raise FunctionAnswerInvalid if a state, when packed, is larger than the setting allows.

    A small state is not packed to find that out. One byte of `marshal`, which is much faster,
    is at most six bytes of JSON: a control character.
    """
    if len(marshal.dumps(state, MARSHAL_WITHOUT_REFERENCES)) * 6 > settings.MAX_CHECKPOINT_BYTES:
        pack(state)


def save(shard: Shard, data: bytes) -> None:
    """Store the checkpoint of a shard, in the transaction that writes the frame's outcome."""
    Checkpoint.objects.update_or_create(shard=shard, defaults={"data": data})


def load(shard: Shard) -> Any:
    """Return the state after the frame that was written last; None before the first one."""
    found = Checkpoint.objects.filter(shard=shard).first()
    return None if found is None else json.loads(zlib.decompress(bytes(found.data)))
