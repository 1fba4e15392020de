"""Run a detector on one frame. The answer is annotations, which the caller may add to the task."""

from __future__ import annotations

from typing import Any

from cvat_lambda.annotations.detections import convert_detections
from cvat_lambda.annotations.errors import MappingError
from cvat_lambda.annotations.mapping import NO_LABELS, build_mapping
from cvat_lambda.annotations.serialize import labeled_data_to_json
from cvat_lambda.errors import InvalidMapping
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.image import View, image_size
from cvat_lambda.interactive.params import require


def detect(call: Call) -> dict[str, Any]:
    """Return ``{"version", "tags", "shapes", "tracks", "notes"?}`` of the frame.

    ``notes`` are sentences about items that were cut to the image or left out.
    """
    params, spec = call.params, call.spec
    require(spec, params, "frame")
    number = params.frame
    assert number is not None
    if not spec.labels:
        raise InvalidMapping(f"function '{spec.id}': {NO_LABELS}")
    try:
        mapping = build_mapping(params.mapping, spec.labels, call.scope.labels())
    except MappingError as exc:
        raise InvalidMapping(exc.message) from exc
    frame = call.frame(number)
    view = View.of(image_size(frame), params.roi)
    fields = {} if params.threshold is None else {"threshold": params.threshold}
    # Only a function that declares to downscale images gets a smaller image.
    sent = view.encode(frame, spec, keep_size=False)
    answer = call.invoke(encode_payload(fields, {"image": sent.data})).answer
    with call.checking(number):
        converted = convert_detections(
            answer,
            mapping=mapping,
            frame=number,
            image_size=view.image_size,
            conv_mask_to_poly=params.conv_mask_to_poly,
            threshold=params.threshold,
            placement=sent.placement,
        )
    found = labeled_data_to_json(converted.data)
    return {**found, "notes": converted.sentences()} if converted.notes else found
