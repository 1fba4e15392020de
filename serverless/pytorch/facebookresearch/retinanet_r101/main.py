"""RetinaNet R101: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from common.batches import run_frames
from common.inputs import read_threshold
from common.weights import weights_file
from model import DEFAULT_THRESHOLD, MAX_BATCH, Detector

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the network once for this worker."""
    detector = Detector.load(weights_file("retinanet_r101.pkl", env="MODEL_PATH"))
    context.user_data.detector = detector
    context.logger.info(f"RetinaNet R101 runs on {detector.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the rectangles of ``image``, or of each of ``images``."""

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        detector = context.user_data.detector
        return run_frames(
            body, lambda images: detector.detect(images, threshold), max_batch=MAX_BATCH
        )

    return answer(context, event, run)
