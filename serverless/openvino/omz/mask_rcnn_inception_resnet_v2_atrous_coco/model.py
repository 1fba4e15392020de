"""Mask R-CNN of the Open Model Zoo as a detector of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from common.coco_ids import LABEL_OF_ID
from common.detection import answer_image
from common.devices import OpenVinoNetwork
from common.images import resize
from common.masks import mask_item, paste
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

DEFAULT_THRESHOLD = 0.2
WIDTH, HEIGHT, COLOURS = 1365, 800, 3  # of the network's input, pixels
MASK_THRESHOLD = 0.5


def prepare(image: Image) -> NDArray[np.float32]:
    """Resize an RGB image (proportions not kept), turn it to BGR: 1 x 3 x 800 x 1365, 0 to 255."""
    bgr = resize(image, width=WIDTH, height=HEIGHT)[..., ::-1]
    return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None], dtype=np.float32)


def select(
    rows: NDArray[np.float32],
    masks: NDArray[np.float32],
    *,
    width: int,
    height: int,
    threshold: float,
) -> list[dict[str, Any]]:
    """Turn rows (image, class, score, x0, y0, x1, y1 in 0..1) and a mask per class into items.

    Detections with an empty mask are left out: CVAT cannot store them.
    """
    items = []
    size = np.array([width, height, width, height], dtype=np.float64)
    for (_, number, score, *corners), small in zip(rows, masks, strict=True):
        label = LABEL_OF_ID.get(int(number))
        if score < threshold or label is None:
            continue
        mask, place = paste(
            small[int(number) - 1],
            np.array(corners, dtype=np.float64) * size,
            width=width,
            height=height,
            threshold=MASK_THRESHOLD,
        )
        item = mask_item(label, mask, float(score), at=place)
        if item is not None:
            items.append(item)
    return items


def load() -> Detector:
    """Load the network (environment: MODEL_PATH)."""
    name = "mask_rcnn_inception_resnet_v2_atrous_coco.xml"
    return Detector(OpenVinoNetwork(weights_file(name, env="MODEL_PATH")))


class Detector:
    """The loaded network."""

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network
        # The order of the input's axes depends on the arguments of the conversion. With the zoo's
        # own arguments it is TensorFlow's: height x width x colours.
        self._colours_last = self._network.input_shape("image_tensor")[-1] == COLOURS

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Answer the masks of ``image``."""
        return answer_image(body, self.detect, default_threshold=DEFAULT_THRESHOLD)

    def detect(self, image: Image, threshold: float) -> list[dict[str, Any]]:
        """Return the masks of an image."""
        height, width = image.shape[:2]
        pixels = prepare(image)
        if self._colours_last:
            pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        outputs = self._network.run_named(
            image_tensor=pixels,
            image_info=np.array([[HEIGHT, WIDTH, 1]], dtype=np.float32),
        )
        rows, masks = outputs["reshape_do_2d"].reshape(-1, 7), outputs["masks"]
        return select(rows, masks, width=width, height=height, threshold=threshold)
