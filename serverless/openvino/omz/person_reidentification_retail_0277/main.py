"""Person re-identification: the entry points of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.answers import answer
from common.images import decode_image
from common.inputs import read_boxes, read_number, read_threshold
from common.weights import weights_file
from model import DEFAULT_MAX_DISTANCE, DEFAULT_THRESHOLD, Matcher

if TYPE_CHECKING:
    from common.platform import Context, Event


def init_context(context: Context) -> None:
    """Load the network once for this worker."""
    path = weights_file("person-reidentification-retail-0277.xml", env="MODEL_PATH")
    matcher = Matcher(path)
    context.user_data.matcher = matcher
    context.logger.info(f"Person re-identification runs on {matcher.device}")


def handler(context: Context, event: Event) -> Any:
    """Answer, for each of ``boxes0``, the index of the same person in ``boxes1``, or -1."""

    def run(body: dict[str, Any]) -> object:
        first, second = (
            (decode_image(body.get(f"image{number}"), field=f"image{number}"),
             read_boxes(body, f"boxes{number}"))
            for number in (0, 1)
        )  # fmt: skip
        return context.user_data.matcher.match(
            first,
            second,
            threshold=read_threshold(body, DEFAULT_THRESHOLD),
            max_distance=read_number(body, "max_distance", DEFAULT_MAX_DISTANCE),
        )

    return answer(context, event, run)
