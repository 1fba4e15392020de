"""Send a kept embedding instead of the image when a user clicks on an image again.

A function whose metadata say ``embedding: true`` accepts ``want: "embedding"``. It then adds
``embedding`` to its answer, an object with base64 ``data``, ``shape`` and ``dtype``. With that
object it needs no image. In a binary answer ``data`` is bytes. When two people click the same image
at once, the function computes the embedding once. A caller that wants the ``blob`` (see
`answer_format`) gets the ``data`` of the embedding, so a function sends it once.

An embedding is kept with the revision of the function that made it. An answer to an embedding of
another revision is discarded, and the function gets the image: another revision could decode it to
a wrong mask.

A function whose metadata say ``keeps_embeddings: true`` keeps its last embeddings in memory. The
app gives each one a random key (``embedding_key``). When the embedding was sent once for each
worker of the function (`sent_embeddings`), later clicks send the key alone, and read nothing but
`without_content` of the embedding, which the process keeps for many images. If the function does
not have the embedding any more, or fails, the click reads it from the store, and sends it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import EmbeddingUnknown, FunctionAnswerInvalid, FunctionError
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.invoke_with_retries import InvocationResult
from cvat_lambda.gateway.payload import Body, Pieces, encode_body, encode_payload, encode_pieces
from cvat_lambda.images.region import Region
from cvat_lambda.interactive.answer_format import AnswerFormat
from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.image import View, image_size
from cvat_lambda.interactive.prompt import prompt

logger = logging.getLogger(__name__)

_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}
_PROMPT_BYTES = 64 * 1024  # reserved for the points beside an embedding
_KEY = "embedding_key"  # the field of a body


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEmbedding:
    """An embedding as the store keeps it."""

    image_size: tuple[int, int]  # size of the whole frame, so that a click need not read it
    revision: str  # of the function that made it; "": not known
    key: str  # under which the function may keep it; not guessable; "": it keeps none
    content: bytes | memoryview  # megabytes: a view, not a copy, of what the store returned
    # Of an embedding of a binary answer: its members beside ``data``, and `content` is the data.
    # None: `content` is the whole embedding as JSON text.
    members: Mapping[str, Any] | None = None

    def pack(self) -> bytes:
        """Return one byte string: a JSON array of what is small, a line break, the content."""
        small = [*self.image_size, self.revision, self.key, self.members]
        head = json.dumps(small, allow_nan=False, separators=(",", ":"))
        return b"".join((head.encode(), b"\n", self.content))

    @classmethod
    def unpack(cls, packed: bytes) -> StoredEmbedding:
        """Return the embedding that `pack` wrote."""
        end = packed.index(b"\n")
        width, height, revision, key, members = json.loads(packed[:end])
        return cls(
            image_size=(width, height),
            revision=revision,
            key=key,
            content=memoryview(packed)[end + 1 :],
            members=members,
        )

    @classmethod
    def of(
        cls, embedding: Mapping[str, Any], *, image_size: tuple[int, int], revision: str, key: str
    ) -> StoredEmbedding:
        """Return an embedding that `check_embedding` accepts.

        Raise ValueError or RecursionError if its other members cannot be JSON.
        """
        content, members = embedding["data"], None
        if isinstance(content, bytes):
            members = {name: value for name, value in embedding.items() if name != "data"}
            json.dumps(members, allow_nan=False)
        else:
            content = json.dumps(embedding, allow_nan=False, separators=(",", ":")).encode()
        return cls(
            image_size=image_size, revision=revision, key=key, content=content, members=members
        )

    def without_content(self) -> StoredEmbedding:
        """Return what a click needs that sends the key alone: some hundred bytes.

        A function may add members of any size to an embedding.
        """
        return replace(self, content=b"", members=None if self.members is None else {})

    def body_without_content(self, fields: Mapping[str, Any]) -> Body:
        """Return the body of a call with these fields and the key of the embedding."""
        return encode_payload({**fields, _KEY: self.key}, binary=self.members is not None)

    def body(self, fields: Mapping[str, Any]) -> Body:
        """Return the body of a call with these fields, the embedding, and its key if it has one.

        The megabytes of the embedding are neither parsed, nor built again, nor copied. A function
        that answered bytes takes binary bodies, and an embedding is sent to the revision that
        answered it.
        """
        if self.key:
            fields = {**fields, _KEY: self.key}
        if self.members is None:
            start = encode_payload(fields)[:-1]
            return Pieces(start + b',"embedding":', self.content, b"}")
        return encode_pieces({**fields, "embedding": {**self.members, "data": self.content}})

    def blob(self) -> str | None:
        """See `blob_of`."""
        if self.members is not None:
            return blob_of({**self.members, "data": self.content})
        return blob_of(json.loads(bytes(self.content)))


def answer_with_embedding(call: Call, number: int, answer_format: AnswerFormat) -> tuple[View, Any]:
    """Return the view that the call is about, and the function's answer."""
    key = embedding_key(call.spec, call.scope.frame_key(number), call.params.roi)
    caches = get_caches()
    store = caches.embeddings
    known = caches.known_embeddings.get(key)
    if known is not None and not answer_format.blob:
        found = _answer_with_key(known, call, number, answer_format, key=key, blob=None)
        if found is not None:
            store.renew(key)
            return found
    packed = store.get(key)
    if packed is None:
        if _identity(call.spec) in caches.without_embedding or not store.is_usable:
            return _ask_with_image(call, number, answer_format)
        with store.computing(key, timeout_s=call.left_s()):
            packed = store.get(key)
            if packed is None:
                return _ask_for_embedding(call, number, answer_format, key=key)
    stored = StoredEmbedding.unpack(packed)
    caches.known_embeddings.put(key, stored.without_content())
    return _answer_from(stored, call, number, answer_format, key=key)


def prepare_embedding(call: Call, number: int) -> bool:
    """Compute and keep the embedding of a frame before the first click on it.

    Return whether it is kept. The function is not invoked if it is kept already, or cannot be.
    """
    key = embedding_key(call.spec, call.scope.frame_key(number), call.params.roi)
    caches = get_caches()
    store = caches.embeddings
    if store.get(key) is not None:
        return True
    if _identity(call.spec) in caches.without_embedding or not store.is_usable:
        return False
    with store.computing(key, timeout_s=call.left_s()):
        if store.get(key) is None:
            view, result, function_key = _send_image_for_embedding(call, number)
            found = result.answer
            embedding = found.get("embedding") if isinstance(found, dict) else None
            _keep(call.spec, key, view, embedding, result.revision, function_key)
    return store.get(key) is not None


def embedding_key(spec: FunctionSpec, frame_key: str, region: Region | None) -> str:
    """Return the key of an embedding, a hash of all that it depends on."""
    box = "" if region is None else ",".join(map(str, region.box))
    parts = json.dumps(["4", spec.id, spec.revision, frame_key, box])  # 4: the form of `pack`
    return hashlib.sha256(parts.encode()).hexdigest()


def _answer_from(
    stored: StoredEmbedding, call: Call, number: int, answer_format: AnswerFormat, *, key: str
) -> tuple[View, Any]:
    blob = stored.blob() if answer_format.blob else None
    if blob is not None and not answer_format.mask:
        # The function need not be invoked.
        return View.of(stored.image_size, call.params.roi), {"blob": blob}
    if blob is None and answer_format.blob:
        return _ask_with_image(call, number, answer_format)
    found = _answer_with_key(stored, call, number, answer_format, key=key, blob=blob)
    if found is not None:
        return found
    view = View.of(stored.image_size, call.params.roi)
    try:
        result = call.invoke(stored.body(prompt(call.params, view)))
    except FunctionError:
        # The embedding may be the cause, for example one of another version.
        return _ask_for_embedding(call, number, answer_format, key=key)
    if stored.key:
        get_caches().sent_embeddings.add(stored.key)
    if result.revision != stored.revision:  # the function was deployed again in between
        return _ask_for_embedding(call, number, answer_format, key=key)
    return view, _with_blob(result.answer, blob)


def _answer_with_key(
    stored: StoredEmbedding,
    call: Call,
    number: int,
    answer_format: AnswerFormat,
    *,
    key: str,
    blob: str | None,
) -> tuple[View, Any] | None:
    """Send the key of an embedding. Return None if the embedding itself must be sent."""
    sent = get_caches().sent_embeddings
    if not stored.key or not sent.is_known(stored.key, call.spec.workers):
        return None
    view = View.of(stored.image_size, call.params.roi)
    try:
        result = call.invoke(stored.body_without_content(prompt(call.params, view)))
    except FunctionError:  # usually EmbeddingUnknown
        sent.forget(stored.key)
        return None
    if result.revision != stored.revision:
        return _ask_for_embedding(call, number, answer_format, key=key)
    return view, _with_blob(result.answer, blob)


def _ask_for_embedding(
    call: Call, number: int, answer_format: AnswerFormat, *, key: str
) -> tuple[View, Any]:
    """Send the image, and keep the embedding that the function answers."""
    view, result, function_key = _send_image_for_embedding(call, number)
    found = result.answer
    if not isinstance(found, dict):
        return view, found
    embedding = found.pop("embedding", None)
    _keep(call.spec, key, view, embedding, result.revision, function_key)
    if answer_format.blob and "blob" not in found:
        blob = None if check_embedding(embedding) else blob_of(embedding)
        if blob is None:
            return _ask_with_image(call, number, answer_format)
        found["blob"] = blob
    return view, found


def _ask_with_image(call: Call, number: int, answer_format: AnswerFormat) -> tuple[View, Any]:
    """Send the image and keep nothing."""
    view, result = _send_image(call, number, want=answer_format.want_field)
    return view, result.answer


def _send_image_for_embedding(call: Call, number: int) -> tuple[View, InvocationResult, str]:
    """Send the image. Return also the key under which the function may keep its embedding."""
    function_key = secrets.token_hex(16) if call.spec.keeps_embeddings else ""
    more = {_KEY: function_key} if function_key else {}
    return *_send_image(call, number, want="embedding", **more), function_key


def _send_image(
    call: Call, number: int, *, want: str | None, **more: str
) -> tuple[View, InvocationResult]:
    frame: Frame = call.frame(number)
    view = View.of(image_size(frame), call.params.roi)
    fields = {**prompt(call.params, view), **more}
    if want is not None:
        fields["want"] = want
    images = {"image": view.encode(frame, call.spec).data}
    try:
        return view, call.invoke(encode_body(fields, images, binary=call.spec.binary))
    except EmbeddingUnknown as exc:
        raise FunctionAnswerInvalid(
            f"frame {number}: function '{call.spec.id}' asks for an embedding, but got the image",
            **exc.details,
        ) from exc


def _with_blob(found: Any, blob: str | None) -> Any:
    return {**found, "blob": blob} if blob is not None and isinstance(found, dict) else found


def _keep(
    spec: FunctionSpec, key: str, view: View, embedding: Any, revision: str, function_key: str
) -> None:
    problem = check_embedding(embedding)
    if problem is None:
        try:
            stored = StoredEmbedding.of(
                embedding, image_size=view.image_size, revision=revision, key=function_key
            )
            packed = stored.pack()
        except (TypeError, ValueError, RecursionError):  # members beside those that were checked
            problem = "it holds a number that is not finite, or is nested too deeply"
        else:
            if len(packed) + _PROMPT_BYTES <= spec.max_body_bytes:
                get_caches().embeddings.put(key, packed)
                get_caches().known_embeddings.put(key, stored.without_content())
                return
            problem = (
                f"its {len(packed)} bytes do not fit into the {spec.max_body_bytes} that the"
                " function takes: raise maxRequestBodySize in its function.yaml"
            )
    get_caches().without_embedding.add(_identity(spec))
    logger.warning(
        "the embedding of function '%s' cannot be kept: %s",
        spec.id,
        problem,
        extra={"action": "embedding_unusable", "function_id": spec.id},
    )


def check_embedding(value: object) -> str | None:
    """Return why an answered embedding cannot be kept, or None if it can."""
    if not isinstance(value, dict):
        return "it answered none"
    data, shape, dtype = value.get("data"), value.get("shape"), value.get("dtype")
    if not isinstance(data, str | bytes):
        return "'data' is not base64 text"
    if not isinstance(dtype, str) or dtype not in _DTYPE_BYTES:
        return f"'dtype' is not one of {', '.join(_DTYPE_BYTES)}"
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        return "'shape' is not a list of positive whole numbers"
    size = math.prod(shape) * _DTYPE_BYTES[dtype]
    if len(data) != (size if isinstance(data, bytes) else (size + 2) // 3 * 4):
        return f"'data' does not hold the {size} bytes that 'shape' and 'dtype' announce"
    return None


def blob_of(embedding: Any) -> str | None:
    """Return an embedding as CVAT's page takes it: base64 of float32. None for other types."""
    if embedding["dtype"] != "float32":
        return None
    data = embedding["data"]
    return data if isinstance(data, str) else base64.b64encode(data).decode()


def _identity(spec: FunctionSpec) -> tuple[str, str]:
    return spec.id, spec.revision
