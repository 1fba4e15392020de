"""The calls that `tests.bench.functions` measures, and the weights with which it measures them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from tests.integration.runtime.harness import REPOSITORY, Runtime

IMAGES = REPOSITORY / "cvat_lambda" / "server" / "photographs"
CALL_TIMEOUT_S = 1800.0  # of ViT-H on a busy machine
# The weights of a measurement.
PACKAGED = "its own weights"
RANDOM = "random weights"  # of the published size: the model's true time and memory
GENERATED = "generated network"  # same inputs and outputs: time without the model
Payload = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of call of one function."""

    function: str
    call: str
    make: Callable[[Runtime, str], Payload]
    network: str = PACKAGED
    workers: tuple[int, ...] = (1, 2)  # numbers of workers to measure

    @property
    def short(self) -> str:
        """The prefix of the names of the function's rows."""
        return self.function.removeprefix("openvino-")

    @property
    def key(self) -> str:
        """The prefix of the names of the case's rows."""
        return f"{self.short}_{self.call.replace(',', '').replace(' ', '_')}"


def encoded(name: str, *, kind: str = "PNG") -> str:
    """Return a sample photograph as a file of a kind (PNG, JPEG, BMP) in base64."""
    path = IMAGES / f"{name}.png"
    if kind == "PNG":
        return base64.b64encode(path.read_bytes()).decode()
    buffer = io.BytesIO()
    Image.open(path).convert("RGB").save(buffer, kind, quality=90)
    return base64.b64encode(buffer.getvalue()).decode()


def detection(runtime: Runtime, name: str) -> Payload:
    """Return a call of a detector."""
    return {"image": encoded("astronaut")}


def empty_detection(runtime: Runtime, name: str) -> Payload:
    """Return a call whose answer is empty: random weights find objects that are none."""
    return {"image": encoded("astronaut"), "threshold": 1.0}


def text_detection(runtime: Runtime, name: str) -> Payload:
    """Return a call with one text, whose answer is empty."""
    return {"image": encoded("astronaut"), "threshold": 1.0, "text": ["a red car"]}


def click(runtime: Runtime, name: str) -> Payload:
    """Return a first click, which sends the image."""
    return {"image": encoded("coffee"), "pos_points": [[220, 200]], "neg_points": []}


def later_click(runtime: Runtime, name: str) -> Payload:
    """Return a later click, which sends the embedding."""
    body = {"image": encoded("coffee"), "want": "embedding"}
    answer = runtime.call(name, body, timeout=CALL_TIMEOUT_S).json()
    return {"embedding": answer["embedding"], "pos_points": [[220, 200]], "neg_points": []}


def click_with_key(runtime: Runtime, name: str) -> Payload:
    """Return a later click, which sends the key of an embedding that all workers keep."""
    sent = {**later_click(runtime, name), "embedding_key": "0" * 32}
    for _ in range(4):  # the workers answer in turn
        runtime.call(name, sent, timeout=CALL_TIMEOUT_S)
    del sent["embedding"]
    return sent


def step(runtime: Runtime, name: str, *, objects: int = 1, kind: str = "PNG") -> Payload:
    """Return a step of the tracker."""
    shapes = [
        {"type": "rectangle", "points": [181 + 7 * n, 58 + 7 * n, 270 + 7 * n, 178 + 7 * n]}
        for n in range(objects)
    ]
    picture = encoded("astronaut", kind=kind)
    body = {"image": picture, "shapes": shapes}
    states = runtime.call(name, body, timeout=CALL_TIMEOUT_S).json()["states"]
    return {"image": picture, "states": states}


def matching(runtime: Runtime, name: str, *, kind: str = "PNG") -> Payload:
    """Return a call of re-identification with eight boxes on each of two pictures."""
    boxes = [{"label_id": 1, "points": [40 * n, 60, 40 * n + 90, 240]} for n in range(8)]
    picture = encoded("astronaut", kind=kind)
    return {"image0": picture, "image1": picture, "boxes0": boxes, "boxes1": boxes}


def painted(runtime: Runtime, name: str) -> Payload:
    """Return a call of a detector whose stand-in finds red areas, with one red rectangle."""
    picture = Image.open(IMAGES / "astronaut.png").convert("RGB")
    picture.paste((255, 0, 0), (200, 100, 300, 260))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return {"image": base64.b64encode(buffer.getvalue()).decode()}


def box_and_click(runtime: Runtime, name: str) -> Payload:
    """Return a call of an interactor that needs a box."""
    body = {"image": encoded("coffee"), "pos_points": [[220, 200]], "neg_points": []}
    return {**body, "obj_bbox": [[75, 15], [480, 390]]}


def case(function: str, call: str, make: Callable[[Runtime, str], Payload], network: str) -> Case:
    """Return a case. It shortens the lines of the list below."""
    return Case(function=function, call=call, make=make, network=network)


def slow(function: str, call: str, make: Callable[[Runtime, str], Payload]) -> Case:
    """Return a case of a large model, which is measured with one worker only."""
    return Case(function=function, call=call, make=make, network=RANDOM, workers=(1,))


CASES = (
    case("openvino-ssdlite-person", "frame", detection, PACKAGED),
    case("openvino-nanodet-coco", "frame", detection, PACKAGED),
    case("openvino-nanodet-sam-masks", "frame", detection, PACKAGED),
    case("openvino-movenet-pose", "frame", detection, PACKAGED),
    case("openvino-centerface-attributes", "frame", detection, PACKAGED),
    case("openvino-mobile-sam", "first click", click, PACKAGED),
    case("openvino-mobile-sam", "later click", later_click, PACKAGED),
    case("openvino-mobile-sam", "later click, key", click_with_key, PACKAGED),
    case("openvino-siamese-mobilenetv2", "step", step, PACKAGED),
    case("openvino-siamese-mobilenetv2", "step, JPEG", partial(step, kind="JPEG"), PACKAGED),
    case("openvino-siamese-mobilenetv2", "step, BMP", partial(step, kind="BMP"), PACKAGED),
    case(
        "openvino-siamese-mobilenetv2",
        "step of 4 objects, JPEG",
        partial(step, objects=4, kind="JPEG"),
        PACKAGED,
    ),
    case("openvino-reid-mobilenetv2", "pair of frames", matching, PACKAGED),
    case(
        "openvino-reid-mobilenetv2",
        "pair of frames, JPEG",
        partial(matching, kind="JPEG"),
        PACKAGED,
    ),
    case("pth-facebookresearch-detectron2-retinanet-r101", "frame", detection, RANDOM),
    case("pth-mmpose-hrnet32", "frame with one person", detection, RANDOM),
    case("pth-shiyinzhang-iog", "click in a box", box_and_click, RANDOM),
    case("pth-dschoerk-transt", "step", step, RANDOM),
    case("onnx-wongkinyiu-yolov7", "frame", painted, GENERATED),
    case("tf-faster-rcnn-inception-v2-coco", "frame", painted, GENERATED),
    case(
        "openvino-omz-public-mask-rcnn-inception-resnet-v2-atrous-coco",
        "frame",
        painted,
        GENERATED,
    ),
    case("openvino-omz-intel-face-detection-0205", "frame with one face", painted, GENERATED),
    case(
        "openvino-omz-intel-person-reidentification-retail-0277",
        "pair of frames",
        matching,
        GENERATED,
    ),
)
#: The functions on transformers, with random weights of the published size.
ON_TRANSFORMERS = (
    # ViT-B is the smallest. ViT-H takes seven times as long, with 2.6 GB of weights per worker.
    slow("pth-facebookresearch-sam-vit-h", "first click with ViT-B", click),
    slow("pth-facebookresearch-sam-vit-h", "later click with ViT-B", later_click),
    slow("pth-facebookresearch-sam2", "first click", click),
    slow("pth-facebookresearch-sam2", "later click", later_click),
    slow("pth-facebookresearch-sam2-tracker", "step", step),
    slow("hf-pekingu-rtdetr-v2", "frame", empty_detection),
    slow("hf-idea-research-grounding-dino", "frame with one text", text_detection),
    slow("hf-google-owlv2", "frame with one text", text_detection),
    slow("hf-usyd-community-vitpose", "frame with one person", detection),
    slow("hf-facebook-mask2former", "frame", empty_detection),
    slow("hf-facebook-sam3", "frame with one text", text_detection),
)
