"""YOLOv7 as a detector: letterboxes images, runs the official ONNX file, decodes its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from common.answers import rectangle
from common.boxes import Letterbox, letterbox
from common.coco import COCO_80
from common.detection import answer_images_together
from common.devices import threads
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

DEFAULT_THRESHOLD = 0.5
MAX_BATCH = 8
SIDE = 640  # pixels of the network's square input
# Six COCO classes have their Pascal VOC names in the authors' file and in CVAT's function.yaml.
_VOC_NAMES = {
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}
LABELS = tuple(_VOC_NAMES.get(name, name) for name in COCO_80)

_SCORE_THRESHOLD_INPUT = 4  # of the ONNX operator NonMaxSuppression


def read_graph(path: Path) -> bytes:
    """Read an ONNX file and set the score threshold of its built-in suppression to 0.

    The official graph drops boxes with a score below 0.35, whatever threshold a caller sends.
    Greedy suppression takes the best boxes first, so the boxes above a threshold stay the same.
    """
    model = onnx.load(str(path))
    floor = onnx.helper.make_tensor("score_floor", onnx.TensorProto.FLOAT, [1], [0.0])
    opened = False
    for node in model.graph.node:
        if node.op_type == "NonMaxSuppression" and len(node.input) > _SCORE_THRESHOLD_INPUT:
            node.input[_SCORE_THRESHOLD_INPUT] = floor.name
            opened = True
    if opened:
        model.graph.initializer.append(floor)
    content: bytes = model.SerializeToString()
    return content


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open the network on CUDA when it is available, else on the CPU."""
    # CUDA's libraries may be installed as wheels, where the loader does not search.
    onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    # Threads that spin while they wait take CPU time from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    available = onnxruntime.get_available_providers()
    providers = [name for name in wanted if name in available]
    return onnxruntime.InferenceSession(read_graph(path), options, providers=providers)


def prepare(image: Image) -> tuple[NDArray[np.float32], Letterbox]:
    """Letterbox an RGB image into 3 x 640 x 640, 0 to 1."""
    canvas, placed = letterbox(image, width=SIDE, height=SIDE)
    return canvas.transpose(2, 0, 1).astype(np.float32) / np.float32(255), placed


def select(rows: NDArray[np.float32], placed: Letterbox, threshold: float) -> list[dict[str, Any]]:
    """Turn one image's rows (x0, y0, x1, y1, class, score in the square) into items, best first."""
    kept = rows[rows[:, 5] >= threshold]
    kept = kept[np.argsort(-kept[:, 5], kind="stable")]
    boxes = placed.undo(kept[:, :4].astype(np.float64))
    return [
        rectangle(LABELS[int(row[4])], box, row[5])
        for row, box in zip(kept, boxes, strict=True)
        if box[2] > box[0] and box[3] > box[1]
    ]


def load() -> Detector:
    """Load the ONNX file (environment: MODEL_PATH)."""
    return Detector(open_session(weights_file("yolov7-nms-640.onnx", env="MODEL_PATH")))


class Detector:
    """The network in an ONNX Runtime session."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        wanted = session.get_inputs()[0]
        self._input: str = wanted.name
        # The official file is exported for one image at a time; a file exported with
        # --dynamic-batch takes them together.
        self._takes_batches = not isinstance(wanted.shape[0], int)

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self.session.get_providers()[0]

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the rectangles of ``image``, or of each of ``images``."""
        return answer_images_together(
            body, self.detect, default_threshold=DEFAULT_THRESHOLD, max_batch=MAX_BATCH
        )

    def detect(self, images: Sequence[Image], threshold: float) -> list[list[dict[str, Any]]]:
        """Return each image's items."""
        prepared = [prepare(image) for image in images]
        stack = np.stack([pixels for pixels, _ in prepared])
        rows = self._run(stack)
        return [
            select(rows[rows[:, 0] == index, 1:], placed, threshold)
            for index, (_, placed) in enumerate(prepared)
        ]

    def _run(self, stack: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows of image number, x0, y0, x1, y1, class, score for all images."""
        if self._takes_batches:
            return self._infer(stack)
        parts = []
        for index, pixels in enumerate(stack):
            rows = self._infer(pixels[None])
            rows[:, 0] = index
            parts.append(rows)
        return np.concatenate(parts)

    def _infer(self, stack: NDArray[np.float32]) -> NDArray[np.float32]:
        output = self.session.run(None, {self._input: stack})[0]
        return np.array(output, dtype=np.float32).reshape(-1, 7)
