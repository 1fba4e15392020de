"""Draw the pictures of docs/functions.md: ``python -m tests.functions.pictures [ID ...]``.

The embedded runtime serves the packaged functions. Each gets a picture of its test in
tests/functions/packaged, and its answer is drawn.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from cvat_lambda.annotations.detections import convert_detections
from cvat_lambda.annotations.labels import parse_function_labels, with_ids
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.annotations.types import Shape, ShapeType
from cvat_lambda.web.overlay import COLORS, Drawing, draw
from tests.functions.conftest import ENDS, ServedFunction, folder_of
from tests.functions.packaged.photographs import cropped, encode, encoded, photograph
from tests.functions.packaged.scenes import SHIFT, crossing, thing_boxes, things
from tests.functions.strips import Panel, strip
from tests.integration.runtime.harness import REPOSITORY, Runtime, running

PLACE = REPOSITORY / "docs" / "images" / "functions"
# Visible on all photographs. With the default colour of its label, the red cup would be orange.
TEAL, YELLOW, BLUE, PALE = COLORS[5], COLORS[7], COLORS[4], COLORS[9]
Part = tuple[int, int, int, int]  # x0, y0, x1, y1
Panels = Callable[[ServedFunction], Iterator[Panel]]


def ask(function: ServedFunction, **body: object) -> Any:
    """Call a function and return its answer. Raise SystemExit on an error."""
    status, answer = function.invoke(body)
    if status != 200:
        raise SystemExit(f"{function.name} answered {status}: {answer}")
    return answer


def drawn(kind: ShapeType, points: Sequence[float], color: str, caption: str) -> Drawing:
    """Return a drawing of a shape without a label."""
    shape = Shape(type=kind, frame=0, label_id=0, points=tuple(points))
    [drawing] = draw([shape], (), (0, 0))
    return replace(drawing, color=color, caption=caption)


def detected(
    function: ServedFunction, names: Sequence[str], parts: Mapping[str, Part] = MappingProxyType({})
) -> Iterator[Panel]:
    """Return panels with a detector's items on photographs, as the app converts them."""
    labels = parse_function_labels(function.labels)
    task_labels = with_ids(labels, count(1))
    mapping = build_mapping(None, labels, task_labels)
    for name in names:
        image = Image.fromarray(photograph(name))
        answer = ask(function, image=encoded(name))
        found = convert_detections(answer, mapping=mapping, frame=0, image_size=image.size)
        drawings: list[Drawing] = []
        for shape in found.data.shapes:
            [drawing] = draw([shape], task_labels, image.size)
            drawings += told(shape, drawing)
        yield Panel(image=image, drawings=drawings, part=parts.get(name))


def told(shape: Shape, drawing: Drawing) -> Iterator[Drawing]:
    """Return a drawing with attribute values in its caption, and with joints in another colour."""
    if drawing.dots:
        yield replace(drawing, color=PALE, caption="", dots=())
        yield replace(drawing, color=YELLOW, caption="", lines=())
    else:
        values = ", ".join(attribute.value for attribute in shape.attributes)
        yield replace(drawing, color=TEAL, caption=values or drawing.caption)


def clicked(function: ServedFunction) -> Iterator[Panel]:
    """Return panels with the masks of a click and of a box around the cup."""
    image = Image.fromarray(photograph("coffee"))
    click, corners = (220, 200), ((170, 15), (410, 308))
    ring = drawn("ellipse", (220, 200, 230, 190), YELLOW, "click")
    frame = drawn("rectangle", (170, 15, 410, 308), YELLOW, "box")
    for prompt, drawing in (
        ({"pos_points": [click]}, replace(ring, dots=(click,))),
        ({"pos_points": [], "obj_bbox": corners}, frame),
    ):
        answer = ask(function, image=encoded("coffee"), neg_points=[], **prompt)
        mask = cropped(answer, (image.height, image.width))
        taken = Drawing(color=TEAL, caption="", x=0, y=0, mask=mask)
        yield Panel(image=image, drawings=[taken, drawing])


def tracked(function: ServedFunction) -> Iterator[Panel]:
    """Return the first, a middle and the last frame of a tracked clip."""
    clip = crossing()
    shapes: list[Any] = [{"type": "rectangle", "points": points} for points in clip[0][1]]
    states: list[Any] = [None] * len(shapes)
    for number, (frame, _) in enumerate(clip):
        answer = ask(function, image=encode(frame), shapes=shapes, states=states)
        shapes, states = [None] * len(shapes), answer["states"]
        drawings = [
            drawn("rectangle", shape["points"], color, f"frame {number}")
            for shape, color in zip(answer["shapes"], (TEAL, YELLOW), strict=True)
        ]
        if number in (0, len(clip) // 2, len(clip) - 1):
            yield Panel(image=Image.fromarray(frame), drawings=drawings)


def matched(function: ServedFunction) -> Iterator[Panel]:
    """Return two frames on which matched objects have one number and one colour."""
    frames = things(1.0, (0, 0)), things(0.85, SHIFT, 1)
    places = thing_boxes((0, 0)), thing_boxes(SHIFT, 1)[::-1]
    first, second = ([{"label_id": 7, "points": box} for box in boxes] for boxes in places)
    images = {"image0": encode(frames[0]), "image1": encode(frames[1])}
    asked = {"boxes0": first, "boxes1": second, "threshold": 0.3, "max_distance": 1000}
    answer = ask(function, **images, **asked)
    for frame, boxes, order in zip(frames, places, ([*range(len(first))], answer), strict=True):
        drawings = [
            drawn("rectangle", boxes[place], color, f"#{number}")
            for number, (place, color) in enumerate(zip(order, (TEAL, YELLOW, BLUE), strict=True))
            if place >= 0
        ]
        yield Panel(image=Image.fromarray(frame), drawings=drawings)


PERSONS, ALL = ("astronaut", "camera"), ("astronaut", "coffee", "camera")
FACES = {"astronaut": (70, 10, 350, 290), "camera": (90, 60, 340, 310)}
# For each packaged function: the file of its picture, and the function that draws it.
PICTURES: Mapping[str, tuple[str, Panels]] = {
    "openvino-ssdlite-person": ("person.jpg", partial(detected, names=PERSONS)),
    "openvino-nanodet-coco": ("nanodet.jpg", partial(detected, names=ALL)),
    "openvino-nanodet-sam-masks": ("masks.jpg", partial(detected, names=ALL)),
    "openvino-movenet-pose": ("pose.jpg", partial(detected, names=PERSONS)),
    "openvino-centerface-attributes": (
        "faces.jpg",
        partial(detected, names=PERSONS, parts=FACES),
    ),
    "openvino-mobile-sam": ("mobile-sam.jpg", clicked),
    "openvino-siamese-mobilenetv2": ("tracker.jpg", tracked),
    "openvino-reid-mobilenetv2": ("reid.jpg", matched),
}


def make(name: str, runtime: Runtime) -> Path:
    """Draw the picture of one function when the function is ready."""
    status = runtime.wait_for_state(name, *ENDS)["status"]
    if status["state"] != "ready":
        raise SystemExit(f"{name} is {status['state']}: {status.get('message')}")
    file, panels = PICTURES[name]
    picture = strip(list(panels(ServedFunction(name=name, runtime=runtime))))
    picture.save(PLACE / file, quality=85, optimize=True)
    return PLACE / file


def main(names: Sequence[str]) -> None:
    """Draw the pictures of the given functions, or of all."""
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: no picture; known are {', '.join(PICTURES)}")
    chosen = list(dict.fromkeys(names)) or list(PICTURES)
    folders = [folder_of(name) for name in chosen]
    with tempfile.TemporaryDirectory() as state, running(folders, Path(state)) as runtime:
        for name in chosen:
            print(make(name, runtime).relative_to(REPOSITORY), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
