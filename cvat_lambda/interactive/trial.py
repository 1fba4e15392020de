"""Try a detector on a picture that belongs to no task."""

from __future__ import annotations

import uuid
from itertools import count
from typing import Any

from cvat_lambda.annotations.detections import convert_detections
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.labels import with_ids
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.annotations.serialize import labeled_data_to_json
from cvat_lambda.errors import FunctionAnswerInvalid, InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.images.decode import image_size
from cvat_lambda.images.resize import resize


def detect_on_picture(
    spec: FunctionSpec, picture: bytes, *, threshold: float | None
) -> dict[str, Any]:
    """Return the size of the picture, the function's labels with ids, and what it found.

    Nothing is stored. Raise InvalidRequest, FrameUnreadable, and what invocations raise.
    """
    if spec.kind is not Kind.DETECTOR:
        raise InvalidRequest(f"function '{spec.id}' is not a detector: try it on a frame of a task")
    width, height = image_size(picture)
    labels = with_ids(spec.labels, count(1))
    sent = resize(picture, spec)
    fields = {} if threshold is None else {"threshold": threshold}
    body = encode_payload(fields, {"image": sent.data}, binary=spec.binary)
    answer = invoke_with_retries(spec, body, request_id=f"trial-{uuid.uuid4().hex[:12]}").answer
    try:
        converted = convert_detections(
            answer,
            mapping=build_mapping(None, spec.labels, labels),
            frame=0,
            image_size=(width, height),
            threshold=threshold,
            placement=sent.placement,
        )
    except AnswerError as exc:
        raise FunctionAnswerInvalid(f"function '{spec.id}': {exc.message}") from exc
    return {
        "width": width,
        "height": height,
        **labeled_data_to_json(converted.data),
        "notes": converted.sentences(),
    }
