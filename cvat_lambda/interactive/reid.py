"""Run a ReID function: find the boxes of one frame again among those of another."""

from __future__ import annotations

from typing import Any

from cvat_lambda.annotations.reid_answer import check_reid_answer
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.image import encode_frame
from cvat_lambda.interactive.params import refuse_roi, require


def reidentify(call: Call) -> list[int]:
    """Return for each of ``boxes0`` the index of the same object in ``boxes1``, or -1."""
    params = call.params
    require(call.spec, params, "frame0", "frame1", "boxes0", "boxes1")
    refuse_roi(call.spec, params)
    assert params.frame0 is not None
    assert params.frame1 is not None
    boxes0, boxes1 = params.boxes0 or (), params.boxes1 or ()
    frame0, frame1 = call.frame(params.frame0), call.frame(params.frame1)
    if not boxes0 or not boxes1:
        return [-1] * len(boxes0)
    fields: dict[str, Any] = {"boxes0": list(boxes0), "boxes1": list(boxes1)}
    for name in ("threshold", "max_distance"):
        if getattr(params, name) is not None:
            fields[name] = getattr(params, name)
    images = {"image0": encode_frame(frame0, call.spec), "image1": encode_frame(frame1, call.spec)}
    answer = call.invoke(encode_payload(fields, images, binary=call.spec.binary)).answer
    with call.checking(params.frame1):
        return check_reid_answer(answer, len(boxes0), len(boxes1))
