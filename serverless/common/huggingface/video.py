"""Segment Anything 2 as a tracker: masks of many objects over a video, with a memory bank.

The library keeps the memories of a whole video in one session. A call needs the memories of its own
objects only, which may have started on different frames. So this module keeps a `Memory` for each
object, and builds a session for each frame. A memory is never changed: the state after each call
can be continued, as long as it is in the bank.
"""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import transformers
from torch.nn import functional
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from common.errors import BadInput, StateUnknown
from common.huggingface.pretrained import read_model
from common.huggingface.squares import SquareInput
from common.masks import bounds, polygon, read_run_lengths, run_lengths
from common.torch_runtime import describe, half_precision
from common.tracking import MAX_COORDINATE, Tracker, read_rectangle, track

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from common.masks import Mask

    Image = NDArray[np.uint8]
    Output = dict[str, Tensor]  # what the library keeps of an object on a frame

SHAPES = ("rectangle", "polygon", "mask", "points")
MIN_SIDE = 1.0  # of a rectangle to start from, pixels
MAX_OBJECTS = 512  # in the bank, unless SAM2_MEMORIES says otherwise
TOP_LEFT, BOTTOM_RIGHT, POSITIVE = 2, 3, 1  # the model's kinds of points


@dataclass(frozen=True)
class Start:
    """Where an object starts: points of the model's kinds, or a mask."""

    shape_type: str  # of the answers, too
    points: tuple[tuple[float, float], ...] = ()  # pixels of the image
    kinds: tuple[int, ...] = ()
    mask: Mask | None = None


@dataclass(frozen=True)
class Memory:
    """What is known of one object after a frame. Frames are counted from its start."""

    shape_type: str
    frame: int  # of the newest output
    first: Output  # on the frame on which the object started
    others: tuple[tuple[int, Output], ...]  # frame and output of the newest tracked frames
    logits: Tensor | None  # of the mask on the newest frame; not kept in the bank
    handle: str = ""


class MemoryBank:
    """The memories of the last calls by their handles; the least recently used are dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._memories: OrderedDict[str, Memory] = OrderedDict()
        self._lock = Lock()

    def put(self, memory: Memory) -> str:
        """Keep a memory and return its new handle."""
        handle = secrets.token_hex(16)
        with self._lock:
            self._memories[handle] = memory
            while len(self._memories) > self._size:
                self._memories.popitem(last=False)
        return handle

    def get(self, handle: object) -> Memory:
        """Return a memory; raise StateUnknown if it is not here."""
        with self._lock:
            if not isinstance(handle, str) or handle not in self._memories:
                raise StateUnknown([0])
            self._memories.move_to_end(handle)
            return self._memories[handle]


class VideoTracker(Tracker[Memory]):
    """Starts objects from rectangles, polygons, masks and points, and follows their masks."""

    state_version = 1

    def __init__(self, model: Any, square: SquareInput, device: torch.device) -> None:
        self._model = model
        self.square = square
        self._device = device
        self._bank = MemoryBank(int(os.environ.get("SAM2_MEMORIES") or MAX_OBJECTS))
        config = model.config
        self._spatial = config.num_maskmem - 1  # tracked frames whose features the model reads
        self._kept = max(self._spatial, config.max_object_pointers_in_encoder - 1)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> VideoTracker:
        """Load the model of a folder."""
        model = read_model(transformers.Sam2VideoModel, folder, device)
        return cls(model, SquareInput.read(folder, side=model.image_size), device)

    @property
    def device(self) -> str:
        """Return the device that runs the network, for the log."""
        return describe(self._device)

    def answer(self, body: dict[str, Any]) -> object:
        """Start to track ``shapes``, or follow ``states``, on ``image`` or ``images``."""
        return track(body, self)

    def read_shape(self, shape: object, name: str, image: Image) -> Start:
        """Return where an object starts."""
        kind = shape.get("type") if isinstance(shape, dict) else "rectangle"
        if kind not in SHAPES:
            raise BadInput(f"'{name}' is of type {kind!r}; send one of {', '.join(SHAPES)}")
        if kind == "rectangle":
            left, top, right, bottom = map(float, read_rectangle(shape, name, image, MIN_SIDE))
            corners = ((left, top), (right, bottom))
            return Start(shape_type=kind, points=corners, kinds=(TOP_LEFT, BOTTOM_RIGHT))
        assert isinstance(shape, dict)
        sent, name = shape.get("points"), f"{name}.points"
        height, width = image.shape[:2]
        if kind == "mask":
            mask = read_run_lengths(sent, name=name, width=width, height=height)
        else:
            points = _read_coordinates(sent, name, least=3 if kind == "polygon" else 1)
            if kind == "points":
                pairs = tuple((float(x), float(y)) for x, y in points)
                return Start(shape_type=kind, points=pairs, kinds=(POSITIVE,) * len(pairs))
            mask = _filled(points, width=width, height=height)
        if not mask.any():
            raise BadInput(f"'{name}' has no pixel on the image")
        return Start(shape_type=str(kind), mask=mask)

    def start(self, image: Image, starts: Sequence[Start]) -> list[Memory]:
        """Return a memory for each start."""
        if not starts:
            return []
        session = self._session(image)
        for number, start in enumerate(starts):
            index = session.obj_id_to_idx(number)
            if start.mask is not None:
                session.add_mask_inputs(index, 0, self._mask_input(start.mask))
                continue
            points = np.array(start.points) * self.square.scale((image.shape[0], image.shape[1]))
            inputs = {
                "point_coords": torch.from_numpy(points)[None, None].float(),
                "point_labels": torch.tensor([[start.kinds]], dtype=torch.int32),
            }
            session.add_point_inputs(index, 0, inputs)
        session.obj_with_new_inputs = list(range(len(starts)))
        logits = self._run(session, image, 0)
        return [
            Memory(
                shape_type=start.shape_type,
                frame=0,
                first=_kept(session.output_dict_per_obj[number]["cond_frame_outputs"][0]),
                others=(),
                logits=logits[number],
            )
            for number, start in enumerate(starts)
        ]

    def follow(self, image: Image, targets: Sequence[Memory]) -> list[Memory]:
        """Return the memory of each object after the next image. The image is encoded once."""
        if not targets:
            return []
        # Only distances between frames matter: the newest outputs of all are on the frame before.
        now = 1 + max(target.frame for target in targets)
        session = self._session(image)
        for number, target in enumerate(targets):
            index = session.obj_id_to_idx(number)
            shift = now - 1 - target.frame
            outputs = session.output_dict_per_obj[index]
            outputs["cond_frame_outputs"][shift] = target.first
            outputs["non_cond_frame_outputs"].update(
                {frame + shift: output for frame, output in target.others}
            )
        logits = self._run(session, image, now)
        return [
            self._next(target, session.output_dict_per_obj[number], now, logits[number])
            for number, target in enumerate(targets)
        ]

    def shapes(self, image: Image, targets: Sequence[Memory]) -> list[dict[str, Any] | None]:
        """Return the mask of each object as a shape of the type with which it started.

        An object that started from points is answered by a mask. Lost objects are None.
        """
        return [_shape(self.mask(target, image), target.shape_type) for target in targets]

    def mask(self, target: Memory, image: Image) -> Mask:
        """Return the mask of an object on the image to which its memory belongs."""
        assert target.logits is not None
        logits = functional.interpolate(
            target.logits[None], image.shape[:2], mode="bilinear", align_corners=False
        )
        return np.asarray((logits[0, 0] > 0).cpu().numpy())

    def settled(self, targets: Sequence[Memory]) -> Sequence[Memory]:
        """Return the memories as they are: a handle names the memory itself."""
        return targets

    def write_state(self, target: Memory) -> dict[str, Any]:
        """Keep a memory in the bank, and return its handle as the state."""
        return {"handle": self._bank.put(_without_logits(target)), "step": target.frame}

    def read_state(self, state: dict[str, Any], name: str) -> Memory:
        """Return the memory of a handle; raise StateUnknown if it is not in the bank."""
        return self._bank.get(state.get("handle"))

    def _session(self, image: Image) -> Any:
        return Sam2VideoInferenceSession(
            video_height=image.shape[0],
            video_width=image.shape[1],
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=torch.float32,
        )

    @torch.inference_mode()
    def _run(self, session: Any, image: Image, frame: int) -> Tensor:
        """Run the model on an image; return the logits of the masks, objects x 1 x rows x columns.

        The model's memory attention casts to the session's float32; autocast does the rest.
        """
        pixels = self.square.prepare(image, self._device)
        with half_precision(self._device):
            outputs = self._model(inference_session=session, frame=pixels, frame_idx=frame)
        return outputs.pred_masks.float()

    def _mask_input(self, mask: Mask) -> Tensor:
        """Return a mask in the size of the model's input, as the library's processor makes it."""
        side = self.square.side
        pixels = torch.from_numpy(mask)[None, None].float()
        if mask.shape != (side, side):
            pixels = functional.interpolate(
                pixels, (side, side), mode="bilinear", align_corners=False, antialias=True
            )
        return (pixels >= 0.5).float()

    def _next(self, target: Memory, outputs: dict[str, Any], now: int, logits: Tensor) -> Memory:
        frame = target.frame + 1
        newest = _kept(outputs["non_cond_frame_outputs"][now], share=target.first)
        others = [
            (number, output if frame - number < self._spatial else _pointer_of(output))
            for number, output in target.others
            if frame - number < self._kept
        ]
        return Memory(
            shape_type=target.shape_type,
            frame=frame,
            first=target.first,
            others=(*others, (frame, newest)),
            logits=logits,
        )


def _kept(output: dict[str, Tensor], share: Output | None = None) -> Output:
    """Return what later frames read of an output. The positions are equal on all frames."""
    positions = output["maskmem_pos_enc"] if share is None else share["maskmem_pos_enc"]
    return {
        "object_pointer": output["object_pointer"],
        "maskmem_features": output["maskmem_features"].clone(),  # not a view of all objects
        "maskmem_pos_enc": positions,
    }


def _pointer_of(output: Output) -> Output:
    return {"object_pointer": output["object_pointer"]}


def _without_logits(memory: Memory) -> Memory:
    return Memory(
        shape_type=memory.shape_type,
        frame=memory.frame,
        first=memory.first,
        others=memory.others,
        logits=None,
    )


def _shape(mask: Mask, shape_type: str) -> dict[str, Any] | None:
    box = bounds(mask)
    if box is None:
        return None
    if shape_type == "rectangle":
        left, top, right, bottom = box
        points = [float(value) for value in (left, top, right + 1, bottom + 1)]
        return {"type": "rectangle", "points": points}
    if shape_type == "polygon":
        outline = [value for point in polygon(mask) for value in point]
        return {"type": "polygon", "points": outline}
    return {"type": "mask", "points": run_lengths(mask)}


def _read_coordinates(sent: object, name: str, *, least: int) -> NDArray[np.float64]:
    """Return a list of x and y as an array of points; raise BadInput if it is none."""
    values: list[Any] = sent if isinstance(sent, list) else []
    numbers = [each for each in values if type(each) in (int, float) and abs(each) < MAX_COORDINATE]
    if len(numbers) != len(values) or len(values) % 2 or len(values) < 2 * least:
        raise BadInput(f"'{name}' is not a list of the x and y of {least} points or more")
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


def _filled(points: NDArray[np.float64], *, width: int, height: int) -> Mask:
    """Return the pixels inside a polygon."""
    canvas = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], 1)
    return canvas.view(np.bool_)
