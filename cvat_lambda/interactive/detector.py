"""Run a detector on one frame. The answer is annotations, which the caller may add to the task."""

from __future__ import annotations

from typing import Any

from cvat_lambda.agents.params import annotate_frame
from cvat_lambda.annotations.detections import Converted, convert_detections
from cvat_lambda.annotations.labeled_answer import convert_labeled
from cvat_lambda.annotations.mapping import Mapping
from cvat_lambda.annotations.serialize import labeled_data_to_json
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.prompts import map_labels
from cvat_lambda.gateway.payload import encode_body, encode_payload
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
    prompts = params.prompts
    mapping = map_labels(spec, prompts, params.mapping, call.scope.labels())
    for exemplar in prompts.exemplars:
        if exemplar.frame != number:
            raise InvalidRequest(
                f"The exemplars of a call are on its own frame {number}, not on {exemplar.frame}."
            )
    run = _ask_agent if spec.is_native else _send_image
    converted = run(call, number, mapping)
    found = labeled_data_to_json(converted.data)
    return {**found, "notes": converted.sentences()} if converted.notes else found


def _send_image(call: Call, number: int, mapping: Mapping) -> Converted:
    params = call.params
    frame = call.frame(number)
    view = View.of(image_size(frame), params.roi)
    # Only a function that declares to downscale images gets a smaller image.
    sent = view.encode(frame, call.spec, keep_size=False)
    fields = params.prompts.fields(number, sent.placement)
    if params.threshold is not None:
        fields["threshold"] = params.threshold
    body = encode_body(fields, {"image": sent.data}, binary=call.spec.binary)
    answer = call.invoke(body).answer
    with call.checking(number):
        return convert_detections(
            answer,
            mapping=mapping,
            frame=number,
            image_size=view.image_size,
            conv_mask_to_poly=params.conv_mask_to_poly,
            threshold=params.threshold,
            placement=sent.placement,
        )


def _ask_agent(call: Call, number: int, mapping: Mapping) -> Converted:
    """Send the number of the frame: the agent reads the image itself."""
    params = call.params
    view = View.of(call.frame_size(number), params.roi)
    fields = annotate_frame(
        call.scope.task_id,
        number,
        mapping=mapping,
        threshold=params.threshold,
        conv_mask_to_poly=params.conv_mask_to_poly,
        roi=None if view.region is None else view.region.box,
    )
    answer = call.invoke(encode_payload(fields)).answer
    with call.checking(number):
        return convert_labeled(
            answer,
            mapping=mapping,
            frame=number,
            image_size=view.image_size,
            conv_mask_to_poly=params.conv_mask_to_poly,
            threshold=params.threshold,
            placement=view.placement,
        )
