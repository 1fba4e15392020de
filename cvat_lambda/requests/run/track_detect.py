"""The detector of a track request, which begins, confirms and ends objects on every k-th frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cvat_lambda.agents.params import annotate_frame
from cvat_lambda.annotations.association import best_pairs
from cvat_lambda.annotations.detections import convert_detections
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.labeled_answer import convert_labeled
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.annotations.notes import Note
from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.annotations.types import Shape
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FunctionAnswerInvalid, InvalidRequest
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import Kind
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.gateway.retry import background_policy
from cvat_lambda.images.decode import opened
from cvat_lambda.images.encode import BMP, PNG, encode
from cvat_lambda.images.resize import resize
from cvat_lambda.requests.run.shard_context import ShardRun, max_bmp_bytes
from cvat_lambda.requests.run.track_objects import SeenShape, TrackedObject, box_of
from cvat_lambda.requests.run.track_step import frame_size, read_frame
from cvat_lambda.requests.store.tracking import MAX_OBJECTS, StartDetector

SAME_OBJECT_IOU = 0.3  # least IoU of an object's shape with its detection
DRIFT_IOU = 0.7  # an object whose detection overlaps less is started anew from the detection
MISSES = 2  # detections in a row without an object, after which it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What a detection changes."""

    restarted: Mapping[int, TrackedObject]  # objects to start from their detections, by number
    notes: tuple[Note, ...] = ()
    dropped: int = 0  # detections for which there is no place


class PeriodicDetector:
    """Detects on a frame, and associates the detections with the objects of a run."""

    def __init__(self, run: ShardRun, start: StartDetector) -> None:
        self._run = run
        self._start = start
        self._spec = registry.get(start.detector)
        if self._spec.kind is not Kind.DETECTOR:
            raise InvalidRequest(f"function {start.detector!r} is not a detector any more")
        self._mapping = build_mapping(start.mapping, self._spec.labels, run.task.labels)

    def detect(self, frame: Frame) -> tuple[list[Shape], tuple[Note, ...], int]:
        """Return the shapes that can be tracked, notes, and the number of other detections.

        Raise LambdaError.
        """
        body, placement = self._encoded(frame)
        called = invoke_with_retries(
            self._spec,
            body,
            request_id=self._run.request.id,
            retries=background_policy().start(),
            interactive=False,
            cancel=self._run.cancel,
        )
        convert = convert_labeled if self._spec.is_native else convert_detections
        try:
            converted = convert(
                called.answer,
                mapping=self._mapping,
                frame=frame.number,
                image_size=frame_size(frame),
                threshold=self._start.threshold,
                placement=placement,
            )
        except (AnswerError, ShapeError) as exc:
            raise FunctionAnswerInvalid(
                f"function {self._spec.id!r}, frame {frame.number}: {exc.message}"
            ) from exc
        shapes = [self._trackable(shape) for shape in converted.data.shapes]
        usable = [shape for shape in shapes if shape is not None]
        return usable, converted.notes, converted.dropped + len(shapes) - len(usable)

    def _encoded(self, frame: Frame) -> tuple[bytes, Placement]:
        """Return the body of the invocation; agents get the number of the frame, not its image."""
        threshold = self._start.threshold
        if self._spec.is_native:
            fields = annotate_frame(
                self._run.task.id,
                frame.number,
                mapping=self._mapping,
                threshold=threshold,
                conv_mask_to_poly=False,
                roi=None,
            )
            return encode_payload(fields), WHOLE_FRAME
        if not frame.data:  # a native tracker gets no image
            frame = read_frame(self._run, frame.number)
        data = frame.data
        if frame.mime == BMP and len(data) > max_bmp_bytes(self._spec):  # only the tracker takes it
            data = _as_png(data)
        image = resize(data, self._spec)
        fields = {} if threshold is None else {"threshold": threshold}
        images = {"image": image.data}
        return encode_payload(fields, images, binary=self._spec.binary), image.placement

    def _trackable(self, shape: Shape) -> Shape | None:
        """Return a shape that the tracker takes: the detection itself, or its rectangle."""
        types = self._run.spec.supported_shape_types
        if shape.type in types and not shape.rotation:
            return shape
        if "rectangle" not in types or shape.type == "skeleton":
            return None
        return replace(shape, type="rectangle", points=box_of(SeenShape.of(shape)), rotation=0.0)

    def associate(
        self, objects: list[TrackedObject], shapes: Sequence[Shape], frame: int
    ) -> Detected:
        """Confirm, find again, begin and end objects; new ones are appended to ``objects``.

        Objects that are tracked are matched before those that are lost.
        """
        left = list(range(len(shapes)))
        restarted: dict[int, TrackedObject] = {}
        tracked = [n for n, each in enumerate(objects) if not each.lost]
        lost = [n for n, each in enumerate(objects) if each.lost]
        for numbers in (tracked, lost):
            for number, index, iou in _match(objects, numbers, shapes, left):
                left.remove(index)
                each = objects[number]
                each.misses, each.missed_from = 0, None
                if each.lost or iou < DRIFT_IOU:
                    each.seen = SeenShape.of(shapes[index])
                    restarted[number] = each
                if number in tracked:
                    tracked.remove(number)
        for number in tracked:
            _miss(objects[number], frame)
        room = max(0, MAX_OBJECTS - sum(not each.lost for each in objects))
        for index in left[:room]:
            shape = shapes[index]
            restarted[len(objects)] = TrackedObject(start=shape, seen=SeenShape.of(shape))
            objects.append(restarted[len(objects)])
        return Detected(restarted=restarted, dropped=len(left[room:]))


def _match(
    objects: Sequence[TrackedObject],
    numbers: Sequence[int],
    shapes: Sequence[Shape],
    left: Sequence[int],
) -> list[tuple[int, int, float]]:
    """Return number of the object, index of the shape and their IoU for each pair."""
    boxes = np.array([box_of(objects[n].seen) for n in numbers]).reshape(-1, 4)
    found = np.array([box_of(SeenShape.of(shapes[i])) for i in left]).reshape(-1, 4)
    same = np.equal.outer(
        np.array([objects[n].start.label_id for n in numbers], dtype=np.int64),
        np.array([shapes[i].label_id for i in left], dtype=np.int64),
    )
    return [
        (numbers[row], left[column], iou)
        for row, column, iou in best_pairs(boxes, found, same, least_iou=SAME_OBJECT_IOU)
    ]


def _as_png(data: bytes) -> bytes:
    """Return an image file as a PNG file. Raise FrameUnreadable."""
    with opened(data) as image:
        return encode(image, PNG, compress_level=1)


def _miss(tracked: TrackedObject, frame: int) -> None:
    """Count a detection that did not find the object; end it after `MISSES` of them."""
    tracked.misses += 1
    if tracked.missed_from is None:
        tracked.missed_from = frame
    if tracked.misses >= MISSES:
        first, last = sorted((tracked.missed_from, frame))
        tracked.hidden.append((first, last))
        tracked.lost, tracked.state = True, None
        tracked.misses, tracked.missed_from = 0, None
