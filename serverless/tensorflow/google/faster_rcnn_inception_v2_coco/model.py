"""Faster R-CNN as a detector: runs the frozen TensorFlow graph, decodes its rows."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common.answers import rectangle
from common.coco_ids import LABEL_OF_ID
from common.detection import answer_images_together
from common.devices import threads
from common.images import resize
from common.weights import weights_file

# TensorFlow reads it at import. It keeps informational messages out of the worker's log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Detections = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]

tf: Any = tensorflow.compat.v1

DEFAULT_THRESHOLD = 0.5
MAX_BATCH = 4
LONG_SIDE, SHORT_SIDE = 1920, 1080  # pixels; the graph itself scales to 1024 x 600 at most
INPUT = "image_tensor:0"
OUTPUTS = ("detection_boxes:0", "detection_scores:0", "detection_classes:0")
# The score thresholds of the last suppression, one constant per class.
_SCORE_FLOOR = re.compile(r"^SecondStagePostprocessor/.*FilterGreaterThan(_\d+)?/Greater/y$")


def read_graph(path: Path) -> Any:
    """Read a frozen graph and set the score thresholds of its last suppression to 0.

    The official graph drops boxes with a score below 0.3, whatever threshold a caller sends.
    Suppression takes the best boxes first, so the boxes above a threshold stay the same.
    """
    definition = tf.GraphDef()
    definition.ParseFromString(path.read_bytes())
    for node in definition.node:
        if node.op == "Const" and _SCORE_FLOOR.match(node.name):
            floor = tensorflow.make_tensor_proto(0.0, dtype=node.attr["dtype"].type)
            node.attr["value"].tensor.CopyFrom(floor)
    return definition


def open_session(path: Path) -> Any:
    """Open the graph in a session. On a GPU it allocates memory as needed, not all at once."""
    graph = tensorflow.Graph()
    with graph.as_default():
        tf.import_graph_def(read_graph(path), name="")
    config = tf.ConfigProto(
        intra_op_parallelism_threads=threads(), inter_op_parallelism_threads=threads()
    )
    config.gpu_options.allow_growth = True
    return tf.Session(graph=graph, config=config)


def prepare(image: Image) -> Image:
    """Shrink an RGB image that is larger than 1920 x 1080 (or 1080 x 1920), proportions kept."""
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height))
    if scale == 1.0:
        return image
    return resize(image, width=max(1, round(width * scale)), height=max(1, round(height * scale)))


def select(
    detections: Detections, *, width: int, height: int, threshold: float
) -> list[dict[str, Any]]:
    """Turn one image's detections (ymin, xmin, ymax, xmax in 0..1) into items in its pixels."""
    boxes, scores, classes = detections
    items = []
    for box, score, number in zip(np.clip(boxes, 0.0, 1.0), scores, classes, strict=True):
        top, left, bottom, right = (float(value) for value in box)
        # The graph fills its fixed number of rows with boxes without an area.
        if score < threshold or bottom <= top or right <= left or int(number) not in LABEL_OF_ID:
            continue
        pixels = np.array([left * width, top * height, right * width, bottom * height])
        items.append(rectangle(LABEL_OF_ID[int(number)], pixels, score))
    return items


def load() -> Detector:
    """Load the frozen graph (environment: MODEL_PATH)."""
    path = weights_file("faster_rcnn_inception_v2_coco.pb", env="MODEL_PATH")
    return Detector(open_session(path))


class Detector:
    """The network in a TensorFlow session."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        found = [each for each in self._session.list_devices() if each.device_type == "GPU"]
        return ", ".join(each.name.rpartition("device:")[2] for each in found) or "CPU"

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``image``, or of each of ``images``."""
        return answer_images_together(
            body, self.detect, default_threshold=DEFAULT_THRESHOLD, max_batch=MAX_BATCH
        )

    def detect(self, images: Sequence[Image], threshold: float) -> list[list[dict[str, Any]]]:
        """Return each image's items; images of one size run as one batch."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        prepared = [prepare(image) for image in images]
        for index, image in enumerate(prepared):
            groups[image.shape].append(index)
        answers: list[list[dict[str, Any]]] = [[] for _ in images]
        for members in groups.values():
            stack = np.stack([prepared[index] for index in members])
            boxes, scores, classes = self._session.run(OUTPUTS, {INPUT: stack})
            for row, index in enumerate(members):
                height, width = images[index].shape[:2]
                found = (boxes[row], scores[row], classes[row])
                answers[index] = select(found, width=width, height=height, threshold=threshold)
        return answers
