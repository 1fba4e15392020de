"""A siamese tracker: it searches for the features of an object in its last surroundings.

The geometry is that of SiamFC (arXiv:1606.09549). The exemplar is cut with a margin of context. The
search patch is twice as wide, and a Hann window prefers small motions. At the new position, patches
of the exemplar's size are compared at three scales: they cost a quarter of a search patch. The
features are two layers of MobileNetV2 trained on ImageNet, compared by normalised correlation. The
exemplar is never updated, so the tracker cannot adapt to the background by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from common.devices import OpenVinoNetwork
from common.errors import BadInput
from common.images import crop, mean_colour
from common.state import pack_array, unpack_array
from common.tracking import BoxTracker, read_numbers, track
from common.weights import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Square = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image

WEIGHTS = "mobilenet_v2_maps_ir.xml"
LAYERS = (3, 6)  # of MobileNetV2
STRIDES = (4, 8)  # pixels of a patch a cell
CHANNELS = (24, 32)
EXEMPLAR = 128  # side of the exemplar patch, pixels
SEARCH = 256  # side of the search patch, pixels: twice the context
MAX_CELLS = tuple(EXEMPLAR // stride for stride in STRIDES)
MIN_CELLS = 3  # a smaller kernel matches anything
CONTEXT = 0.5  # margin on each side, as a share of width + height
SCALES = (1 / 1.05, 1.0, 1.05)
SCALE_REACH = 2  # cells around the middle in which a scale's response is looked for
SCALE_PENALTY = 0.985  # factor on the response of a changed scale
SCALE_DAMPING = 0.3  # share of a change of scale that is applied per frame
RESPONSE = 128  # side of the response map: two pixels of the search patch a cell
STEP = SEARCH // RESPONSE
WINDOW = 0.35  # weight of the Hann window
LOST = 0.15  # correlation below which the object counts as hidden: its box stays
MIN_SIDE = 4.0  # of a box, pixels
PATCHES_AT_ONCE = 48  # bounds the memory of one pass through the network


@dataclass(frozen=True)
class Target:
    """One object: its box and its features."""

    box: NDArray[np.float64]  # x0, y0, x1, y1 in pixels
    kernels: tuple[NDArray[np.float32], ...]  # a layer each: (channels, rows, columns), unit norm
    fill: tuple[int, int, int]  # mean colour of its first frame, for what lies outside an image

    @property
    def centre(self) -> NDArray[np.float64]:
        """Return x, y in pixels."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def size(self) -> NDArray[np.float64]:
        """Return width, height in pixels."""
        return self.box[2:] - self.box[:2]


def load() -> SiameseTracker:
    """Load the converted network (environment: MOBILENET_V2_MAPS_PATH)."""
    return SiameseTracker(OpenVinoNetwork(weights_file(WEIGHTS, env="MOBILENET_V2_MAPS_PATH")))


class SiameseTracker(BoxTracker[Target]):
    """Starts and follows any number of objects."""

    min_side = MIN_SIDE
    state_version = 1

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network

    @property
    def device(self) -> str:
        """Return the devices that run the networks, for the log."""
        return self._network.device

    def answer(self, body: dict[str, Any]) -> object:
        """Start to track ``shapes``, or follow ``states``, on ``image``."""
        return track(body, self)

    def start(self, image: NDArray[np.uint8], boxes: Sequence[NDArray[np.float64]]) -> list[Target]:
        """Return a target for each box."""
        fill = mean_colour(image)
        patches = [_patch(image, _square(box, context(box)), EXEMPLAR, fill) for box in boxes]
        return [
            Target(box=box, kernels=_kernels(maps, box), fill=fill)
            for box, maps in zip(boxes, self._features(patches), strict=True)
        ]

    def follow(self, image: NDArray[np.uint8], targets: Sequence[Target]) -> list[Target]:
        """Return each target where it is on the next image."""
        squares = [
            _rounded(_square(target.box, 2 * context(target.box)), SEARCH) for target in targets
        ]
        searched = self._features(
            [
                _patch(image, square, SEARCH, target.fill)
                for square, target in zip(squares, targets, strict=True)
            ]
        )
        found = [
            _displaced(target, square, features, image)
            for target, square, features in zip(targets, squares, searched, strict=True)
        ]
        seen = [target for target, is_seen in found if is_seen]
        scaled = iter(
            self._features(
                [
                    _patch(image, _rounded(square, EXEMPLAR), EXEMPLAR, target.fill)
                    for target in seen
                    for square in _scaled(target.box)
                ]
            )
        )
        return [
            _rescaled(target, [next(scaled) for _ in SCALES], image) if is_seen else target
            for target, is_seen in found
        ]

    def box(self, target: Target) -> NDArray[np.float64]:
        """Return the target's box in pixels."""
        return target.box

    def write_state(self, target: Target) -> dict[str, Any]:
        """Return a target as JSON: half precision is enough for its features."""
        return {
            "box": [round(float(value), 3) for value in target.box],
            "fill": list(target.fill),
            "kernels": [pack_array(kernel, "float16") for kernel in target.kernels],
        }

    def read_state(self, state: dict[str, Any], name: str) -> Target:
        """Return the target of a state; raise BadInput, naming ``name``, if it is damaged."""
        box = read_numbers(state.get("box"), f"{name}.box", count=4)
        if (box[2:] - box[:2] < MIN_SIDE / 2).any():
            raise BadInput(f"'{name}.box' is empty; send the shape instead")
        fill = read_numbers(state.get("fill"), f"{name}.fill", count=3).clip(0, 255).astype(int)
        packed = state.get("kernels")
        if not isinstance(packed, list) or len(packed) != len(CHANNELS):
            raise BadInput(f"'{name}.kernels' is not a list of {len(CHANNELS)} arrays")
        kernels = [unpack_array(each, name=f"{name}.kernels").astype(np.float32) for each in packed]
        for kernel, channels, cells in zip(kernels, CHANNELS, MAX_CELLS, strict=True):
            fits = kernel.ndim == 3 and kernel.shape[0] == channels and kernel.size > 0
            if not fits or max(kernel.shape[1:]) > cells or not np.isfinite(kernel).all():
                raise BadInput(f"'{name}.kernels' does not fit this model; send the shape instead")
        red, green, blue = fill.tolist()
        return Target(
            box=box,
            kernels=tuple(kernels),
            fill=(red, green, blue),
        )

    def _features(self, patches: Sequence[NDArray[np.uint8]]) -> list[list[Floats]]:
        """Return the layers of each patch, each (channels, rows, columns)."""
        features: list[list[Floats]] = []
        for first in range(0, len(patches), PATCHES_AT_ONCE):
            batch = patches[first : first + PATCHES_AT_ONCE]
            layers = self._network(np.stack(batch))
            features += [[layer[number] for layer in layers] for number in range(len(batch))]
        return features


def context(box: Floats) -> float:
    """Return the side of the square that holds an object and its margin, pixels (SiamFC)."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    margin = CONTEXT * (width + height)
    return float(np.sqrt((width + margin) * (height + margin)))


def correlate(search: Floats, kernel: Floats) -> NDArray[np.float64]:
    """Return the normalised cross-correlation in [-1, 1] of every whole placement of a kernel.

    The sums over channels and cells go through OpenCV's Fourier transform, which is faster than
    sliding. The kernel has unit norm; the map's mean is removed first.
    """
    centred = search - search.mean(dtype=np.float64).astype(search.dtype)
    dots = cv2.matchTemplate(_channels_last(centred), _channels_last(kernel), cv2.TM_CCORR)
    # Sums of windows that begin at each place; those beyond the last one are cut off.
    energy = cv2.boxFilter(
        np.einsum("crk,crk->rk", centred, centred).astype(np.float64),
        cv2.CV_64F,
        (kernel.shape[2], kernel.shape[1]),
        anchor=(0, 0),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )[: dots.shape[0], : dots.shape[1]]
    return np.asarray(dots / np.sqrt(np.maximum(energy, 1e-6)))


def best_near_the_middle(search: Floats, kernel: Floats) -> float:
    """Return the best of the middle placements of `correlate`, at most SCALE_REACH cells away.

    These are few, so each is computed on its own.
    """
    centred = search - search.mean(dtype=np.float64).astype(search.dtype)
    sides = kernel.shape[1:]
    ends = []
    for own, side in zip(search.shape[1:], sides, strict=True):
        middle = (own - side) // 2
        ends.append((max(0, middle - SCALE_REACH), min(own, middle + SCALE_REACH + side)))
    (top, bottom), (left, right) = ends
    part = centred[:, top:bottom, left:right]
    windows = np.lib.stride_tricks.sliding_window_view(part, sides, axis=(1, 2))
    placed = windows.transpose(1, 2, 0, 3, 4).reshape(-1, kernel.size)
    energy = np.einsum("ij,ij->i", placed, placed)
    return float((placed @ kernel.ravel() / np.sqrt(np.maximum(energy, 1e-6))).max())


def respond(features: Sequence[Floats], kernels: Sequence[Floats]) -> NDArray[np.float64]:
    """Return the mean correlation of the layers over displacements, shape (RESPONSE, RESPONSE).

    Cell (i, j) stands for a displacement of ((j, i) - (RESPONSE - 1) / 2) * STEP search pixels.
    """
    maps = [
        _resampled(correlate(layer, kernel), kernel, stride)
        for layer, kernel, stride in zip(features, kernels, STRIDES, strict=True)
    ]
    return np.asarray(sum(maps) / len(maps))


def _square(box: Floats, side: float) -> Square:
    """Return the square of ``side`` around the box's centre."""
    x0, y0, x1, y1 = box.tolist()
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    return left, top, left + side, top + side


def _scaled(box: Floats) -> list[Square]:
    """Return the squares around an object at each of the scales."""
    side = context(box)
    return [_square(box, side * scale) for scale in SCALES]


def _rounded(square: Square, pixels: int) -> Square:
    """Return a square in whole pixels, unless it is smaller than the ``pixels`` of its patch.

    `crop` cuts whole pixels in a third of the time.
    """
    left, top, right, _ = square
    if right - left < pixels:
        return square
    left, top, side = round(left), round(top), round(right - left)
    return left, top, left + side, top + side


def _patch(
    image: NDArray[np.uint8], square: Square, pixels: int, fill: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Cut a square, ``pixels`` wide."""
    return crop(image, square, width=pixels, height=pixels, fill=fill)


def _kernels(maps: Sequence[Floats], box: Floats) -> tuple[NDArray[np.float32], ...]:
    """Cut the object itself out of the exemplar's layers, without its margin; unit norm."""
    share = (box[2:] - box[:2]) / context(box)  # width, height as shares of the patch
    kernels = []
    for layer in maps:
        cells = layer.shape[1]
        columns, rows = (min(cells, max(MIN_CELLS, round(cells * float(part)))) for part in share)
        top, left = (cells - rows) // 2, (cells - columns) // 2
        cut = layer[:, top : top + rows, left : left + columns]
        cut = cut - cut.mean()
        kernels.append((cut / max(float(np.linalg.norm(cut)), 1e-6)).astype(np.float32))
    return tuple(kernels)


def _resampled(correlation: Floats, kernel: Floats, stride: int) -> Floats:
    """Put a layer's correlation on the grid of displacements, bicubic; 0 where it has no value.

    A placement at cell p moves the object by p - (cells of search - cells of exemplar) / 2 cells
    against the cut of `_kernels`, which starts at (cells of exemplar - cells of kernel) // 2.
    """
    factor = stride // STEP  # cells of the grid a cell of the layer
    fine = cv2.resize(
        np.asarray(correlation, dtype=np.float32),
        None,
        fx=factor,
        fy=factor,
        interpolation=cv2.INTER_CUBIC,
    )
    grid = np.zeros((RESPONSE, RESPONSE), dtype=np.float32)
    into, taken = [], []
    for size, length in zip(kernel.shape[1:], fine.shape, strict=True):
        cut = (EXEMPLAR // stride - size) // 2
        unmoved = (SEARCH - EXEMPLAR) // stride // 2 + cut
        # Both count from the corner of a cell: half a cell of the layer on both sides.
        first = RESPONSE // 2 - factor * unmoved - factor // 2
        into.append(slice(max(0, first), max(0, min(RESPONSE, first + length))))
        taken.append(slice(max(0, -first), max(0, min(length, RESPONSE - first))))
    grid[tuple(into)] = fine[tuple(taken)]
    return grid


def _displaced(
    target: Target,
    square: Square,
    features: Sequence[Floats],
    image: NDArray[np.uint8],
) -> tuple[Target, bool]:
    """Return the target at the best place in its square, and whether it is seen there."""
    response = respond(features, target.kernels)
    preferred = response * (1 - WINDOW) + _PREFERENCE
    row, column = map(int, np.unravel_index(int(preferred.argmax()), preferred.shape))
    if response[row, column] < LOST:
        box = _inside(target.centre, target.size, image)  # a frame may be smaller than the last
        return replace(target, box=box), False
    pixels = (square[2] - square[0]) / RESPONSE  # a cell of the response
    peak = np.array([_peak(preferred[row], column), _peak(preferred[:, column], row)])
    centre = np.array(square[:2]) + (peak + 0.5) * pixels
    return replace(target, box=_inside(centre, target.size, image)), True


def _rescaled(
    target: Target, scales: Sequence[Sequence[Floats]], image: NDArray[np.uint8]
) -> Target:
    """Return the target at the best of the scales, of which a share is applied."""
    responses = [_middle_response(features, target.kernels) for features in scales]
    penalties = [1.0 if scale == 1.0 else SCALE_PENALTY for scale in SCALES]
    scale = SCALES[int(np.argmax(np.multiply(responses, penalties)))]
    size = target.size * (1 + SCALE_DAMPING * (scale - 1))
    return replace(target, box=_inside(target.centre, size, image))


def _middle_response(features: Sequence[Floats], kernels: Sequence[Floats]) -> float:
    """Return the mean over the layers of the best correlation near the middle."""
    pairs = zip(features, kernels, strict=True)
    return float(np.mean([best_near_the_middle(layer, kernel) for layer, kernel in pairs]))


def _peak(values: Floats, index: int) -> float:
    """Return where the parabola through a maximum and its neighbours has its top."""
    if not 0 < index < len(values) - 1:
        return float(index)
    before, top, after = (float(value) for value in values[index - 1 : index + 2])
    bend = before - 2 * top + after
    return index + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _inside(centre: Floats, size: Floats, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the box with its centre on the image and sides from MIN_SIDE to the image's."""
    ends = []  # of each axis. Numbers of Python are faster here than arrays of two
    for middle, side, limit in zip(centre.tolist(), size.tolist(), image.shape[1::-1], strict=True):
        inside = min(max(middle, 0.0), limit)
        half = min(max(side, MIN_SIDE), max(limit, MIN_SIDE)) / 2
        ends.append((inside - half, inside + half))
    return np.array(ends).T.ravel()


def _channels_last(maps: Floats) -> NDArray[np.float32]:
    """Return maps as OpenCV takes them: (rows, columns, channels)."""
    return np.ascontiguousarray(maps.transpose(1, 2, 0), dtype=np.float32)


def _hann() -> NDArray[Any]:
    line = np.hanning(RESPONSE)
    return np.outer(line, line)


_PREFERENCE = _hann() * (WINDOW / 2)
