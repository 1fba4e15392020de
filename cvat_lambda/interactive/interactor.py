"""Run an interactor on clicks and a box. If an embedding is kept, the image is not sent."""

from __future__ import annotations

from typing import Any

from cvat_lambda.agents import params as agent_params
from cvat_lambda.annotations.interaction_shapes import mask_of_shapes
from cvat_lambda.annotations.interactor_answer import check_interactor_answer
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.interactive.answer_format import AnswerFormat
from cvat_lambda.interactive.call import Call
from cvat_lambda.interactive.embeddings import answer_with_embedding, prepare_embedding
from cvat_lambda.interactive.image import View, image_size
from cvat_lambda.interactive.params import require, require_prompt
from cvat_lambda.interactive.prompt import prompt


def interact(call: Call) -> dict[str, Any]:
    """Return ``{"mask", "points"?, "bounds"?, "blob"?}`` in coordinates of the whole frame.

    A call that wants the embedding only prepares later clicks; it returns ``{"prepared"}``.
    """
    params, spec = call.params, call.spec
    if params.want == "embedding":
        require(spec, params, "frame")
        assert params.frame is not None
        can_be_kept = spec.embedding and not spec.is_native
        return {"prepared": can_be_kept and prepare_embedding(call, params.frame)}
    require(spec, params, "frame", "pos_points", "neg_points")
    assert params.frame is not None
    answer_format = AnswerFormat.choose(spec, params)
    if answer_format.mask:
        require_prompt(spec, params)
    if spec.is_native:
        view, answer = _ask_agent(call, params.frame)
    elif spec.embedding:
        view, answer = answer_with_embedding(call, params.frame, answer_format)
    else:
        frame = call.frame(params.frame)
        view = View.of(image_size(frame), params.roi)
        images = {"image": view.encode(frame, spec).data}
        body = encode_payload(prompt(params, view), images, binary=spec.binary)
        answer = call.invoke(body).answer
    with call.checking(params.frame):
        checked = check_interactor_answer(
            answer, image_size=view.image_size, placement=view.placement
        )
    return answer_format.remove_declined(checked)


def _ask_agent(call: Call, number: int) -> tuple[View, Any]:
    """Send the number of the frame: the agent reads the image itself."""
    view = View.of(call.frame_size(number), call.params.roi)
    region = view.region
    fields = agent_params.interact(
        call.scope.task_id,
        number,
        prompt=prompt(call.params, view),
        roi=None if region is None else region.box,
    )
    answer = call.invoke(encode_payload(fields)).answer
    size = view.placement.image_size(view.image_size)
    assert size is not None
    with call.checking(number):
        return view, mask_of_shapes(answer, image_size=size)
