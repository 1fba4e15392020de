"""Human pose estimation: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import people
from common.answers import answer
from common.images import decode_image
from common.inputs import read_threshold
from common.weights import weights_file
from model import DEFAULT_THRESHOLD, PoseDetector, load_network

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load both networks once for this worker."""
    finder = people.load_network(weights_file("rtmdet_nano_person.pth", env="DETECTOR_MODEL_PATH"))
    network = load_network(weights_file("hrnet_w32_ubody.pth", env="MODEL_PATH"))
    detector = PoseDetector(people.PersonDetector(finder), network)
    context.user_data.detector = detector
    context.logger.info(f"Human pose estimation runs on {detector.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer the skeletons of the people in ``image``."""

    def run(body: dict[str, Any]) -> object:
        threshold = read_threshold(body, DEFAULT_THRESHOLD)
        return context.user_data.detector.detect(decode_image(body.get("image")), threshold)

    return answer(context, event, run)
