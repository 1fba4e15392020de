"""Networks of the YOLO family in ONNX files: boxes, rotated boxes, masks, poses, classes.

A folder that ``new yolo`` wrote has a ``model.json`` with the settings of its network.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from common.answers import rectangle
from common.boxes import Letterbox, letterbox
from common.detection import answer_images_together
from common.images import grey, resize
from common.masks import mask_item, paste
from common.onnx_network import OnnxNetwork
from common.weights import weights_file
from common.yolo_outputs import Candidates, Head, Layout, choose, find_layout, read_candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Floats = NDArray[np.floating]
    Items = list[dict[str, Any]]

TASKS = ("detect", "segment", "pose", "obb", "classify")
MAX_BATCH = 8
VISIBLE = 0.5  # score from which a keypoint counts as visible
# Of a classifier whose file states no task: YOLOv5 subtracts ImageNet's mean.
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True)
class Settings:
    """The content of ``model.json``."""

    weights: str  # name of the file
    task: str  # one of TASKS
    labels: tuple[str, ...]  # by the number of the class
    classes: tuple[str, ...] | None  # names in the file for which the folder was written
    keypoints: tuple[str, ...]  # names of a pose's points
    size: tuple[int, int]  # height, width of the input in pixels, where the network takes any
    threshold: float  # where a call has none, in [0, 1]


def read_settings(path: Path) -> Settings:
    """Read ``model.json``."""
    content = json.loads(path.read_text(encoding="utf-8"))
    classes = content.get("classes")
    return Settings(
        weights=content["weights"],
        task=content["task"],
        labels=tuple(content["labels"]),
        classes=None if classes is None else tuple(classes),
        keypoints=tuple(content.get("keypoints", ())),
        size=tuple(content["size"]),
        threshold=content["threshold"],
    )


def load(folder: Path) -> Yolo:
    """Load the network of a function folder."""
    settings = read_settings(folder / "model.json")
    network = OnnxNetwork(weights_file(settings.weights))
    return Yolo(network, settings)


class Yolo:
    """A network, and the conversion of its outputs into items."""

    def __init__(self, network: OnnxNetwork, settings: Settings) -> None:
        self._network = network
        self._settings = settings
        _check_classes(network.metadata.get("names"), settings.classes)
        ((self._input, shape),) = network.inputs.items()
        self._takes_batches = shape[0] is None
        metadata = network.metadata
        self._normalises = "names" in metadata and "task" not in metadata
        self._channels = shape[1] or 3
        self._height, self._width = (
            side or wanted for side, wanted in zip(shape[2:4], settings.size, strict=True)
        )
        # A run on a grey image tells the shapes of the outputs, so that a network that cannot be
        # read fails at the start and not at the first call.
        blank = np.full((1, self._channels, self._height, self._width), 0.5, np.float32)
        outputs = self._run(blank)
        self._head = self._layout = None
        if settings.task == "classify":
            if outputs[0].shape[-1] != len(settings.labels):
                raise ValueError(
                    f"the network has {outputs[0].shape[-1]} classes, "
                    f"function.yaml has {len(settings.labels)} labels"
                )
            return
        self._head = self._make_head(outputs)
        self._layout = find_layout(
            outputs[0].shape, self._head, width=self._width, height=self._height
        )

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the items of ``image``, or of each of ``images``."""
        return answer_images_together(
            body, self.detect, default_threshold=self._settings.threshold, max_batch=MAX_BATCH
        )

    def detect(self, images: Sequence[Image], threshold: float) -> list[Items]:
        """Return each image's items, best first."""
        if self._settings.task == "classify":
            stack = np.stack([self._cropped(image) for image in images])
            return [self._tags(scores, threshold) for scores in self._run_all(stack)[0]]
        placed = [
            letterbox(image, width=self._width, height=self._height, scale=_scale)
            for image in images
        ]
        outputs = self._run_all(np.stack([self._pixels(canvas) for canvas, _ in placed]))
        items = []
        for number, (_, place) in enumerate(placed):
            found = self._objects(outputs[0], number, threshold)
            maps = outputs[1][number] if self._settings.task == "segment" else None
            items.append(self._items(found, place, maps))
        return items

    # --- runs ----------------------------------------------------------------------------------

    def _run(self, stack: Floats) -> list[Floats]:
        return self._network(**{self._input: stack})

    def _run_all(self, stack: Floats) -> list[Floats]:
        """Run all images, together if the network takes batches."""
        if self._takes_batches or len(stack) == 1:
            return self._run(stack)
        runs = [self._run(pixels[None]) for pixels in stack]
        if self._layout is Layout.NUMBERED:
            for number, outputs in enumerate(runs):
                outputs[0][:, 0] = number
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def _make_head(self, outputs: Sequence[Floats]) -> Head:
        task, classes = self._settings.task, len(self._settings.labels)
        if task == "segment":
            if len(outputs) < 2 or outputs[1].ndim != 4:
                raise ValueError("the network has no masks: its second output is not [1, n, h, w]")
            return Head(classes=classes, extra=outputs[1].shape[1])
        if task == "pose":
            # Two numbers a point, or three with its score.
            points, shape = len(self._settings.keypoints), outputs[0].shape
            sizes = [4 + classes, 5 + classes, 6]
            fits = [n for n in (3, 2) for size in sizes if size + n * points in shape[1:]]
            return Head(classes=classes, extra=points * (fits[0] if fits else 3))
        return Head(classes=classes, extra=int(task == "obb"), rotated=task == "obb")

    def _objects(self, output: Floats, number: int, threshold: float) -> Candidates:
        assert self._head is not None
        assert self._layout is not None
        numbered = self._layout is Layout.NUMBERED
        table = output[output[:, 0] == number] if numbered else output[number]
        found = read_candidates(table, self._layout, self._head, threshold)
        return choose(found, self._layout, self._head)

    # --- pixels --------------------------------------------------------------------------------

    def _pixels(self, canvas: Image) -> Floats:
        """Return an RGB image as the network takes it, values 0 to 1."""
        planes = grey(canvas)[None] if self._channels == 1 else canvas.transpose(2, 0, 1)
        return planes.astype(np.float32) / np.float32(255)

    def _cropped(self, image: Image) -> Floats:
        """Return the middle of an image, its shorter side scaled to the network's."""
        height, width = image.shape[:2]
        ratio = max(self._height / height, self._width / width)
        # Rounded down like torchvision's Resize, with which these networks are trained.
        scaled = resize(
            image,
            width=max(self._width, int(width * ratio + 1e-6)),
            height=max(self._height, int(height * ratio + 1e-6)),
        )
        top = round((scaled.shape[0] - self._height) / 2)
        left = round((scaled.shape[1] - self._width) / 2)
        part = scaled[top : top + self._height, left : left + self._width]
        if not self._normalises:
            return self._pixels(part)
        values = (part.astype(np.float32) / 255 - _MEAN) / _DEVIATION
        return values.transpose(2, 0, 1)

    # --- items ---------------------------------------------------------------------------------

    def _tags(self, scores: Floats, threshold: float) -> Items:
        """Return the best class as a tag, if its score is at least ``threshold``."""
        scores = scores.reshape(-1).astype(np.float64)
        if scores.min() < 0 or abs(scores.sum() - 1) > 1e-2:
            scores = np.exp(scores - scores.max())  # YOLOv5 leaves the softmax out
            scores /= scores.sum()
        best = int(scores.argmax())
        if scores[best] < threshold:
            return []
        score = round(float(scores[best]), 4)
        return [{"label": self._settings.labels[best], "type": "tag", "confidence": score}]

    def _items(self, found: Candidates, place: Letterbox, maps: Floats | None) -> Items:
        if self._settings.task == "obb":
            return [
                _rotated(self._settings.labels[kind], box, extra[0], score, place)
                for box, score, kind, extra in _rows(found)
            ]
        items = []
        for box, score, kind, extra in _rows(found):
            label = self._settings.labels[kind]
            inside = place.undo(box[None])[0]
            if inside[2] <= inside[0] or inside[3] <= inside[1]:
                continue
            if self._settings.task == "detect":
                item: dict[str, Any] | None = rectangle(label, inside, score)
            elif self._settings.task == "segment":
                assert maps is not None
                item = self._mask(label, inside, score, extra, maps, place)
            else:
                item = self._skeleton(label, score, extra, place)
            if item is not None:
                items.append(item)
        return items

    def _mask(
        self,
        label: str,
        box: Floats,
        score: float,
        coefficients: Floats,
        maps: Floats,
        place: Letterbox,
    ) -> dict[str, Any] | None:
        """Return the mask inside a box of the image: where the weighted sum of maps is above 0."""
        count, rows, columns = maps.shape
        # Of the maps only the part under the box is computed, and one cell around it. Cells of the
        # padding are left out: they would end masks before the border of the image.
        scale = np.array(
            [columns / self._width * place.ratio_x, rows / self._height * place.ratio_y]
        )
        shift = np.array([place.left * columns / self._width, place.top * rows / self._height])
        end = np.array([place.width, place.height]) * scale + shift
        first = np.maximum(np.floor(box[:2] * scale + shift) - 1, np.floor(shift)).astype(int)
        last = np.minimum(np.ceil(box[2:] * scale + shift) + 1, np.ceil(end - 1e-6)).astype(int)
        part = maps[:, first[1] : last[1], first[0] : last[0]]
        if not part.size:
            return None
        values = np.tensordot(coefficients[:count], part, axes=1)
        area = np.concatenate([(first - shift) / scale, (last - shift) / scale])
        mask, (left, top) = paste(
            values, area, width=place.width, height=place.height, threshold=0.0
        )
        x = np.arange(left, left + mask.shape[1]) + 0.5
        y = np.arange(top, top + mask.shape[0]) + 0.5
        inside = ((y >= box[1]) & (y <= box[3]))[:, None] & ((x >= box[0]) & (x <= box[2]))
        return mask_item(label, mask & inside, score, at=(left, top))

    def _skeleton(
        self, label: str, score: float, numbers: Floats, place: Letterbox
    ) -> dict[str, Any] | None:
        """Return a pose; None if none of its points is visible on the image."""
        points = numbers.reshape(len(self._settings.keypoints), -1).astype(np.float64)
        elements, seen = [], False
        for name, point in zip(self._settings.keypoints, points, strict=True):
            x, y = place.undo_points(point[:2])
            confidence = float(point[2]) if len(point) > 2 else score
            visible = (
                (len(point) < 3 or confidence >= VISIBLE)
                and 0 <= x <= place.width
                and 0 <= y <= place.height
            )
            seen = seen or visible
            elements.append(
                {
                    "label": name,
                    "type": "points",
                    "points": [round(float(x), 2), round(float(y), 2)],
                    "outside": int(not visible),
                    "confidence": round(confidence, 4),
                }
            )
        if not seen:
            return None
        confidence = round(float(score), 4)
        return {"label": label, "type": "skeleton", "confidence": confidence, "elements": elements}


def _rows(found: Candidates) -> zip[tuple[Any, ...]]:
    boxes = found.boxes.astype(np.float64)
    return zip(boxes, found.scores, found.classes, found.extras, strict=True)


def _rotated(
    label: str, box: Floats, angle: float, score: float, place: Letterbox
) -> dict[str, Any]:
    """Return a rectangle with CVAT's rotation: degrees clockwise around its centre, 0 to 360."""
    centre = place.undo_points(box[:2])
    half = box[2:4] / 2 / np.array([place.ratio_x, place.ratio_y])
    item = rectangle(label, np.concatenate([centre - half, centre + half]), score)
    item["rotation"] = round(float(np.degrees(angle)) % 360, 2) % 360
    return item


def _scale(image: Image, *, width: int, height: int) -> Image:
    """Resize without antialiasing, as these networks are trained."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _check_classes(names: str | None, classes: Sequence[str] | None) -> None:
    """Raise ValueError when the file has other classes than that for which the folder was made."""
    if names is None or classes is None:
        return
    found = ast.literal_eval(names)
    found = list(found.values()) if isinstance(found, dict) else list(found)
    if [str(name) for name in found] != list(classes):
        raise ValueError(
            f"the ONNX file has other classes than function.yaml: {found}. Write the folder anew: "
            "python -m cvat_lambda.runtime new yolo NAME --weights FILE --update"
        )
