"""Compare trackers on generated clips of the given seeds.

``python -m tests.bench.tracker_comparison SEED ... --frames N`` prints one JSON object for each
tracker: the mean IoU, the share of boxes with an IoU above 0.5, the switches from one object to
another, and the processor time of an object on a frame. It needs OpenCV with its contributed
trackers, OpenVINO and the weights of the packaged tracker. `tests.bench.tracking` prepares them.

A tracker gets the boxes of the first frame. An object counts on frames on which half of it is seen.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from tests.bench.moving_objects import MIN_IOU, Box, Clip, cut, iou, make_clip

Track = Callable[[Clip], Iterator[list[Box]]]  # the boxes of all objects on each frame


def main() -> None:
    """Measure all trackers on the clips."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--frames", type=int, default=160)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = importlib.import_module("model").load()
    contributed: Any = cv2  # the types are those of the package without these trackers
    trackers: dict[str, Track] = {
        "siamese": lambda clip: packaged(model, clip),
        "csrt": lambda clip: of_opencv(contributed.TrackerCSRT_create, clip),
        "kcf": lambda clip: of_opencv(contributed.TrackerKCF_create, clip),
    }
    clips = [make_clip(seed, options.frames) for seed in options.seeds]
    for name, track in trackers.items():
        print(json.dumps({"tracker": name, **measure(track, clips)}), flush=True)


def measure(track: Track, clips: list[Clip]) -> dict[str, float]:
    """Return the figures of a tracker over all clips."""
    overlaps: list[float] = []
    switches, seconds, steps = 0, 0.0, 0
    for clip in clips:
        began = time.process_time()
        boxes = list(track(clip))
        seconds += time.process_time() - began
        steps += (len(clip.frames) - 1) * len(clip.truths[0])
        found, switched = compare(clip, boxes)
        overlaps += found
        switches += switched
    return {
        "iou": float(np.mean(overlaps)),
        "success": float(np.mean(np.array(overlaps) > MIN_IOU)),
        "switches": switches,
        "ms_per_object": 1000 * seconds / steps,
    }


def compare(clip: Clip, boxes: list[list[Box]]) -> tuple[list[float], int]:
    """Return the IoU of each seen object on each frame but the first, and the switches."""
    overlaps, switches = [], 0
    held = list(range(len(clip.truths[0])))  # the object that each track holds
    for found, truths in zip(boxes[1:], clip.truths[1:], strict=True):
        for number, (box, truth) in enumerate(zip(found, truths, strict=True)):
            if not truth.is_seen:
                continue
            overlaps.append(iou(box, cut(truth.box, clip)))
            with_each = [iou(box, cut(each.box, clip)) for each in truths]
            best = int(np.argmax(with_each))
            if with_each[best] > MIN_IOU and best != held[number]:
                held[number] = best
                switches += 1
    return overlaps, switches


def packaged(model: Any, clip: Clip) -> Iterator[list[Box]]:
    """Track with the packaged tracker, as a clip of its calls does."""
    targets = model.start(
        clip.frames[0], [np.array(cut(each.box, clip)) for each in clip.truths[0]]
    )
    yield [cut(model.box(target), clip) for target in targets]
    for frame in clip.frames[1:]:
        targets = model.follow(frame, model.settled(targets))
        yield [cut(model.box(target), clip) for target in targets]


def of_opencv(make: Callable[[], Any], clip: Clip) -> Iterator[list[Box]]:
    """Track with one of OpenCV's trackers an object. A lost object stays where it was."""
    boxes = [cut(truth.box, clip) for truth in clip.truths[0]]
    trackers = [make() for _ in boxes]
    first = cv2.cvtColor(clip.frames[0], cv2.COLOR_RGB2BGR)
    for tracker, (x0, y0, x1, y1) in zip(trackers, boxes, strict=True):
        tracker.init(first, (int(x0), int(y0), int(x1 - x0), int(y1 - y0)))
    yield boxes
    for frame in clip.frames[1:]:
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        answers = [tracker.update(image) for tracker in trackers]
        boxes = [
            cut((x, y, x + width, y + height), clip) if is_found else box
            for (is_found, (x, y, width, height)), box in zip(answers, boxes, strict=True)
        ]
        yield boxes


if __name__ == "__main__":
    main()
