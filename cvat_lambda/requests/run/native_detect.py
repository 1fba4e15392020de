"""Run a native detector: its agents read the frames, and answer with labels of the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from cvat_lambda.agents.params import annotate_frame
from cvat_lambda.annotations.detections import Converted
from cvat_lambda.annotations.labeled_answer import convert_labeled
from cvat_lambda.annotations.placement import WHOLE_FRAME
from cvat_lambda.engine.port import Frame
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.images.region import Region
from cvat_lambda.images.resize import ResizedImage
from cvat_lambda.requests.run.detect import DetectWork
from cvat_lambda.requests.run.detect_tracks import DetectTracksWork
from cvat_lambda.requests.run.results import EncodedUnit, Unit


class NativeDetectWork(DetectWork):
    """Sends the number of a frame instead of its image."""

    _convert: ClassVar[Callable[..., Converted]] = staticmethod(convert_labeled)

    def prepare(self, unit: Unit) -> EncodedUnit:
        """Send task and frame by their numbers. Raise InvalidRequest for a region outside."""
        (frame,) = unit.frames  # an agent gets one frame at a time
        region = self._clipped(frame)
        fields = annotate_frame(
            self._run.task.id,
            frame.number,
            mapping=self._mapping,
            threshold=self._run.params.threshold,
            conv_mask_to_poly=self._run.params.conv_mask_to_poly,
            roi=None if region is None else region.box,
        )
        placement = WHOLE_FRAME if region is None else region.placement
        return EncodedUnit(
            body=encode_payload(fields), images=(ResizedImage(data=b"", placement=placement),)
        )

    def _clipped(self, frame: Frame) -> Region | None:
        if self._region is None or frame.width is None or frame.height is None:
            return self._region
        return self._region.clip(frame.width, frame.height)


class NativeDetectTracksWork(NativeDetectWork, DetectTracksWork):
    """Detects frame by frame through agents, then associates the detections."""
