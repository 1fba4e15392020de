"""Run a detector: one frame or several in an invocation, shapes and tags as results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar

from cvat_lambda.annotations.detections import Converted, convert_detections
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.conf import settings
from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.errors import FunctionAnswerInvalid, FunctionFailed
from cvat_lambda.functions.prompts import map_labels
from cvat_lambda.gateway.payload import Images, encode_body
from cvat_lambda.images.decode import image_size
from cvat_lambda.images.region import Region, encode_region
from cvat_lambda.images.resize import ResizedImage
from cvat_lambda.requests.run import replaced_tracks
from cvat_lambda.requests.run.results import (
    EncodedUnit,
    FrameResult,
    ReaderItem,
    SingleInvocationWork,
    Unit,
    UnitAnswer,
    failed,
)
from cvat_lambda.requests.run.shard_context import ShardRun, max_call_bytes
from cvat_lambda.requests.store.models import FrameStatus


class DetectWork(SingleInvocationWork):
    """Sends one frame an invocation, or up to ``max_batch`` of the function."""

    divisible = True
    _convert: ClassVar[Callable[..., Converted]] = staticmethod(convert_detections)

    def __init__(self, run: ShardRun) -> None:
        self._run = run
        self._prompts = run.params.prompts
        self._mapping = map_labels(run.spec, self._prompts, run.params.mapping, run.task.labels)
        # Examples are of one frame, so frames with examples are not sent together.
        self._max_batch = 1 if self._prompts.exemplars else run.spec.max_batch
        self._fields: dict[str, Any] = {}
        if run.params.threshold is not None:
            self._fields["threshold"] = run.params.threshold
        roi = run.params.roi
        self._region = None if roi is None else Region.parse(roi)

    def numbers(self) -> Iterator[int]:
        """Return every frame without an outcome."""
        return iter(self._run.frames)

    def units(self, frames: Iterator[Frame | UnreadableFrame]) -> Generator[ReaderItem, None, None]:
        """Group consecutive frames, up to the function's limits of count and bytes."""
        group: list[Frame] = []
        room = max_call_bytes(self._run.spec)
        for frame in frames:
            if isinstance(frame, UnreadableFrame):
                yield failed(frame.number, frame.error, attempts=0, duration_s=0.0)
                continue
            if group and sum(len(item.data) for item in group) + len(frame.data) > room:
                yield _unit(group)
                group = []
            group.append(frame)
            if len(group) >= self._max_batch:
                yield _unit(group)
                group = []
        if group:
            yield _unit(group)

    def prepare(self, unit: Unit) -> EncodedUnit:
        """Send ``image`` for one frame, ``images`` for several."""
        images = tuple(self._encode(frame) for frame in unit.frames)
        sent = [image.data for image in images]
        named: Images = {"image": sent[0]} if len(sent) == 1 else {"images": sent}
        number = unit.numbers[0] if len(images) == 1 else None
        fields = {**self._fields, **self._prompts.fields(number, images[0].placement)}
        body = encode_body(fields, named, binary=self._run.spec.binary)
        return EncodedUnit(body=body, images=images)

    def _encode(self, frame: Frame) -> ResizedImage:
        """Return the part of the frame that is sent. Raise FrameUnreadable, InvalidRequest."""
        region = self._region
        if region is not None:
            width, height = frame.width, frame.height
            if width is None or height is None:
                width, height = image_size(frame.data)
            region = region.clip(width, height)
        return encode_region(
            frame.data,
            region,
            self._run.spec,
            mime=frame.mime,
            jpeg_quality=settings.ROI_JPEG_QUALITY,
        )

    def results(self, unit: Unit, sent: EncodedUnit, answered: UnitAnswer) -> list[FrameResult]:
        """Return a result a frame; each frame of several may have failed alone."""
        if len(unit.frames) == 1:
            return [self._result(unit.frames[0], sent.images[0], answered.answer, answered)]
        items = self._many(answered.answer, len(unit.frames))
        return [
            self._one_of_many(frame, image, item, answered)
            for frame, image, item in zip(unit.frames, sent.images, items, strict=True)
        ]

    def parts(self, unit: Unit) -> list[Unit]:
        """Split into single frames, so that one bad image does not fail its neighbours."""
        return [_unit([frame]) for frame in unit.frames]

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """Do nothing: `finish` reads only tracks, which are few."""

    def finish(self) -> None:
        """Remove the tracks that the replacement policy replaces."""
        replaced_tracks.remove_replaced(self._run)

    def _many(self, answer: object, expected: int) -> list[object]:
        items = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(items, list) or len(items) != expected:
            raise FunctionAnswerInvalid(
                f"{self._run.function_name}: the answer to {expected} images must hold "
                f"'results', a list of {expected}"
            )
        return items

    def _one_of_many(
        self, frame: Frame, image: ResizedImage, item: object, answered: UnitAnswer
    ) -> FrameResult:
        try:
            if isinstance(item, dict) and "error" in item:
                raise FunctionFailed(
                    f"{self._run.function_name} failed: {str(item['error'])[:500]}"
                )
            return self._result(frame, image, item, answered)
        except (FunctionFailed, FunctionAnswerInvalid) as error:
            return failed(
                frame.number, error, attempts=answered.attempts, duration_s=answered.duration_s
            )

    def _result(
        self, frame: Frame, image: ResizedImage, answer: object, answered: UnitAnswer
    ) -> FrameResult:
        try:
            converted = self._convert(
                answer,
                mapping=self._mapping,
                frame=frame.number,
                image_size=_size(frame),
                conv_mask_to_poly=self._run.params.conv_mask_to_poly,
                threshold=self._run.params.threshold,
                placement=image.placement,
            )
        except (AnswerError, ShapeError) as exc:
            raise FunctionAnswerInvalid(
                f"{self._run.function_name}, frame {frame.number}: {exc.message}"
            ) from exc
        return FrameResult(
            frame=frame.number,
            status=FrameStatus.DONE,
            data=converted.data,
            attempts=answered.attempts,
            duration_s=answered.duration_s,
            dropped=converted.dropped,
            notes=converted.notes,
        )


def _size(frame: Frame) -> tuple[int, int] | None:
    if frame.width is None or frame.height is None:
        return None
    return frame.width, frame.height


def _unit(frames: list[Frame]) -> Unit:
    return Unit(frames=tuple(frames), numbers=tuple(frame.number for frame in frames))
