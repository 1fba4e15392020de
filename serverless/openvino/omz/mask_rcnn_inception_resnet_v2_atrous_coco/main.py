"""Mask R-CNN: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from common.images import decode_image
from common.inputs import read_threshold
from common.weights import weights_file
from model import DEFAULT_THRESHOLD, Detector

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the network once for this worker."""
    path = weights_file("mask_rcnn_inception_resnet_v2_atrous_coco.xml", env="MODEL_PATH")
    detector = Detector(path)
    context.user_data.detector = detector
    context.logger.info(f"Mask R-CNN runs on {detector.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the masks of ``image``."""

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return context.user_data.detector.detect(decode_image(body.get("image")), threshold)

    return answer(context, event, run)
