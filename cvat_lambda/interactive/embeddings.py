"""Clicks on an image that is known already: the function gets its own embedding, no image.

A function whose metadata say ``embedding: true`` takes ``want: "embedding"`` and answers, beside
the mask, ``embedding`` (an object with base64 ``data``, ``shape`` and ``dtype``); given that
object, it needs no image. When two people click the same image at once, the function computes the
embedding once. A caller that wants the ``blob`` (see `answer_format`) gets the ``data`` of the
embedding, so a function need not send it twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import dataclass
from typing import Any

from cvat_lambda.conf import settings
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FunctionRejected
from cvat_lambda.functions.spec import FunctionSpec
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.images.region import Region
from cvat_lambda.interactive.answer_format import AnswerFormat
from cvat_lambda.interactive.caches import get_caches
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.image import View, image_size
from cvat_lambda.interactive.prompt import prompt

logger = logging.getLogger(__name__)

_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}
_PROMPT_BYTES = 64 * 1024  # left for the points beside an embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An embedding as the store keeps it: the size of the frame, and the object's JSON text."""

    image_size: tuple[int, int]  # of the whole frame, so that a click need not read it
    text: bytes | memoryview  # of megabytes: a view, not a copy, of what the store gave

    def pack(self) -> bytes:
        """One byte string."""
        return b"".join((b"%d %d\n" % self.image_size, self.text))

    @classmethod
    def unpack(cls, packed: bytes) -> Kept:
        """The inverse of `pack`."""
        end = packed.index(b"\n")
        width, height = packed[:end].split(b" ")
        return cls(image_size=(int(width), int(height)), text=memoryview(packed)[end + 1 :])

    def blob(self) -> str | None:
        """See `blob_of`."""
        return blob_of(json.loads(bytes(self.text)))


def answer_with_embedding(call: Call, number: int, answer_format: AnswerFormat) -> tuple[View, Any]:
    """The view that was asked about and the function's answer."""
    key = embedding_key(call.spec, call.scope.frame_key(number), call.params.roi)
    caches = get_caches()
    store = caches.embeddings
    packed = store.get(key)
    if packed is None:
        if _identity(call.spec) in caches.without_embedding or not store.is_usable:
            return _ask_with_image(call, number, answer_format)
        with store.computing(key, timeout_s=call.spec.timeout_s or settings.CALL_TIMEOUT_S):
            packed = store.get(key)
            if packed is None:
                return _ask_for_embedding(call, number, answer_format, key=key)
    return _answer_from(Kept.unpack(packed), call, number, answer_format, key=key)


def embedding_key(spec: FunctionSpec, frame_key: str, region: Region | None) -> str:
    """Names an embedding by all that it depends on."""
    box = "" if region is None else ",".join(map(str, region.box))
    parts = json.dumps([spec.id, spec.revision, frame_key, box])
    return hashlib.sha256(parts.encode()).hexdigest()


def _answer_from(
    kept: Kept, call: Call, number: int, answer_format: AnswerFormat, *, key: str
) -> tuple[View, Any]:
    blob = kept.blob() if answer_format.blob else None
    if blob is not None and not answer_format.mask:
        return View.of(kept.image_size, call.params.roi), {"blob": blob}  # nothing is left to ask
    if blob is None and answer_format.blob:
        return _ask_with_image(call, number, answer_format)
    try:
        view, found = _ask_with_embedding(call, kept)
    except FunctionRejected:
        # It may refuse the embedding, as of a version before, or the points: the image tells.
        return _ask_for_embedding(call, number, answer_format, key=key)
    return view, _with_blob(found, blob)


def _ask_with_embedding(call: Call, kept: Kept) -> tuple[View, Any]:
    view = View.of(kept.image_size, call.params.roi)
    fields = encode_payload(prompt(call.params, view))
    # The text goes in as it is: megabytes are neither parsed nor built again.
    return view, call.invoke(b"".join((fields[:-1], b',"embedding":', kept.text, b"}")))


def _ask_for_embedding(
    call: Call, number: int, answer_format: AnswerFormat, *, key: str
) -> tuple[View, Any]:
    """Send the image, and keep the embedding that is answered."""
    view, found = _send_image(call, number, want="embedding")
    if not isinstance(found, dict):
        return view, found
    embedding = found.pop("embedding", None)
    _keep(call.spec, key, view, embedding)
    if answer_format.blob and "blob" not in found:
        blob = None if check_embedding(embedding) else blob_of(embedding)
        if blob is None:
            return _ask_with_image(call, number, answer_format)
        found["blob"] = blob
    return view, found


def _ask_with_image(call: Call, number: int, answer_format: AnswerFormat) -> tuple[View, Any]:
    """Send the image and keep nothing."""
    return _send_image(call, number, want=answer_format.want_field)


def _send_image(call: Call, number: int, *, want: str | None) -> tuple[View, Any]:
    frame: Frame = call.frame(number)
    view = View.of(image_size(frame), call.params.roi)
    fields = prompt(call.params, view)
    if want is not None:
        fields["want"] = want
    images = {"image": view.encode(frame, call.spec).data}
    return view, call.invoke(encode_payload(fields, images))


def _with_blob(found: Any, blob: str | None) -> Any:
    return {**found, "blob": blob} if blob is not None and isinstance(found, dict) else found


def _keep(spec: FunctionSpec, key: str, view: View, embedding: object) -> None:
    problem = check_embedding(embedding)
    text = b""
    if problem is None:
        try:
            text = json.dumps(embedding, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, RecursionError):  # members beside the ones that were checked
            problem = "it holds a number that is not finite, or is nested too deeply"
    if problem is None:
        if len(text) + _PROMPT_BYTES <= spec.max_body_bytes:
            get_caches().embeddings.put(key, Kept(image_size=view.image_size, text=text).pack())
            return
        problem = (
            f"its {len(text)} bytes do not fit into the {spec.max_body_bytes} that the function"
            " takes: raise maxRequestBodySize in its function.yaml"
        )
    get_caches().without_embedding.add(_identity(spec))
    logger.warning(
        "function '%s': its embedding cannot be kept, %s",
        spec.id,
        problem,
        extra={"action": "embedding_unusable", "function_id": spec.id},
    )


def check_embedding(value: object) -> str | None:
    """Why an answered embedding cannot be kept; None if it can."""
    if not isinstance(value, dict):
        return "it answered none"
    data, shape, dtype = value.get("data"), value.get("shape"), value.get("dtype")
    if not isinstance(data, str):
        return "'data' is not base64 text"
    if not isinstance(dtype, str) or dtype not in _DTYPE_BYTES:
        return f"'dtype' is none of {', '.join(_DTYPE_BYTES)}"
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        return "'shape' is not a list of positive whole numbers"
    size = math.prod(shape) * _DTYPE_BYTES[dtype]
    if len(data) != (size + 2) // 3 * 4:
        return f"'data' does not hold the {size} bytes that 'shape' and 'dtype' announce"
    return None


def blob_of(embedding: Any) -> str | None:
    """An embedding as CVAT's page takes it: base64 of float32; None for one of another type."""
    return str(embedding["data"]) if embedding["dtype"] == "float32" else None


def _identity(spec: FunctionSpec) -> tuple[str, str]:
    return spec.id, spec.revision
