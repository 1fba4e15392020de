"""Call a function once with a small drawn image and check the answer against its kind."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from PIL import Image, ImageDraw

from cvat_lambda.annotations.detections import convert_detections
from cvat_lambda.annotations.errors import AnnotationError, AnswerError
from cvat_lambda.annotations.interactor_answer import check_interactor_answer
from cvat_lambda.annotations.labels import with_ids
from cvat_lambda.annotations.notes import BREACHES
from cvat_lambda.annotations.prompts import Prompts
from cvat_lambda.annotations.reid_answer import check_reid_answer
from cvat_lambda.annotations.tracker_answer import check_tracker_answer
from cvat_lambda.annotations.types import Label
from cvat_lambda.errors import FunctionAnswerInvalid, InvalidRequest
from cvat_lambda.functions.prompts import map_labels
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.invoke import invoke
from cvat_lambda.gateway.payload import encode_payload

SIZE: Final = (320, 240)
_BOX: Final = [80.0, 60.0, 200.0, 180.0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The result of a probe."""

    summary: str  # a sentence
    duration_s: float


def probe(spec: FunctionSpec) -> ProbeResult:
    """Call a function once and check its answer against the contract of its kind.

    Raise what `invoke` raises; FunctionAnswerInvalid names item and field.
    """
    if spec.is_native:
        raise InvalidRequest(
            f"function '{spec.id}' is run by agents, which read frames of tasks only:"
            " call it for a frame"
        )
    fields, images, read = _KINDS[spec.kind]
    body = encode_payload(fields(spec), images(), binary=spec.binary)
    started = time.monotonic()
    answer = invoke(spec, body, request_id=f"probe-{uuid.uuid4().hex[:12]}")
    duration_s = time.monotonic() - started
    try:
        summary = read(spec, answer)
    except AnnotationError as exc:
        raise FunctionAnswerInvalid(f"function '{spec.id}': {exc}") from exc
    return ProbeResult(summary=summary, duration_s=duration_s)


def drawn_image() -> bytes:
    """Return a JPEG of SIZE with a bright box on a dark background."""
    image = Image.new("RGB", SIZE, (40, 60, 80))
    ImageDraw.Draw(image).rectangle(_BOX, fill=(220, 180, 60))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def _one_image() -> dict[str, bytes]:
    return {"image": drawn_image()}


def _two_images() -> dict[str, bytes]:
    return {"image0": drawn_image(), "image1": drawn_image()}


def _texts(spec: FunctionSpec) -> list[str]:
    """Return a text for a function that has no labels of its own."""
    return ["object"] if "text" in spec.prompts and not spec.labels else []


def _describe(spec: FunctionSpec) -> dict[str, Any]:
    texts = _texts(spec)
    return {"text": texts} if texts else {}


def _read_detector(spec: FunctionSpec, answer: object) -> str:
    # A task with the function's own labels accepts everything that the function can find.
    prompts = Prompts(text=tuple(_texts(spec)))
    labels = spec.labels or tuple(Label(name=text) for text in prompts.text)
    mapping = map_labels(spec, prompts, None, with_ids(labels, count(1)))
    converted = convert_detections(answer, mapping=mapping, frame=0, image_size=SIZE)
    for note in converted.notes:
        if note.kind in BREACHES:
            raise AnswerError(note.sentence())
    found = converted.data
    return f"it found {_count(found.shapes, 'shape')} and {_count(found.tags, 'tag')}"


def _count(found: Sized, noun: str) -> str:
    return f"{len(found)} {noun}" if len(found) == 1 else f"{len(found)} {noun}s"


def _click(spec: FunctionSpec) -> dict[str, Any]:
    needs_box = spec.interactor is not None and spec.interactor.startswith_box
    return {
        "pos_points": [[140, 120]],
        "neg_points": [],
        "obj_bbox": [_BOX[:2], _BOX[2:]] if needs_box else [],
    }


def _read_interactor(spec: FunctionSpec, answer: object) -> str:
    checked = check_interactor_answer(answer, image_size=SIZE)
    return f"it answered {' and '.join(sorted(checked))}"


def _start_track(spec: FunctionSpec) -> dict[str, Any]:
    shape: Any = _BOX
    if not spec.legacy_tracker:
        shape = {"type": spec.supported_shape_types[0], "points": _BOX}
    return {"shapes": [shape], "states": [None]}


def _read_tracker(spec: FunctionSpec, answer: object) -> str:
    check_tracker_answer(
        answer, expected=1, shape_types=spec.supported_shape_types, image_size=SIZE
    )
    return "it began a track"


def _boxes(spec: FunctionSpec) -> dict[str, Any]:
    box = {"points": _BOX, "label_id": 1, "type": "rectangle"}
    return {"boxes0": [box], "boxes1": [box], "threshold": 0.5, "max_distance": 50}


def _read_reid(spec: FunctionSpec, answer: object) -> str:
    matched = [index for index in check_reid_answer(answer, 1, 1) if index >= 0]
    return f"it matched {len(matched)} of 1 box"


Fields = Callable[[FunctionSpec], dict[str, Any]]
Images = Callable[[], dict[str, bytes]]
Read = Callable[[FunctionSpec, object], str]
_KINDS: Final[Mapping[Kind, tuple[Fields, Images, Read]]] = {
    Kind.DETECTOR: (_describe, _one_image, _read_detector),
    Kind.INTERACTOR: (_click, _one_image, _read_interactor),
    Kind.TRACKER: (_start_track, _one_image, _read_tracker),
    Kind.REID: (_boxes, _two_images, _read_reid),
}
