"""Print the metrics of multiple object tracking of one clip, as one JSON object.

Standard input is a JSON list of frames. Each frame has ``truths`` (``id``, ``box``, ``is_seen``)
and ``tracks`` (``id``, ``box``). A pair needs an IoU of at least 0.5. As in MOTChallenge, a track's
box that fits an unseen object is ignored. The command needs motmetrics, which
`tests.bench.associated_tracks` installs.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np

from tests.bench.moving_objects import MIN_IOU, iou

METRICS = ("idf1", "mota", "num_switches", "num_transfer")


def main() -> None:
    """Read the frames and print the metrics."""
    motmetrics: Any = importlib.import_module("motmetrics")
    found = motmetrics.MOTAccumulator(auto_id=True)
    for frame in json.load(sys.stdin):
        seen = [truth for truth in frame["truths"] if truth["is_seen"]]
        tracks = [track for track in frame["tracks"] if not is_of_unseen(track, frame["truths"])]
        distances = np.array(
            [[1 - iou(truth["box"], track["box"]) for track in tracks] for truth in seen]
        ).reshape(len(seen), len(tracks))
        distances[distances > 1 - MIN_IOU] = np.nan  # no pair
        found.update([truth["id"] for truth in seen], [track["id"] for track in tracks], distances)
    table = motmetrics.metrics.create().compute(found, metrics=list(METRICS), name="clip")
    sys.stdout.write(json.dumps({name: float(table.loc["clip", name]) for name in METRICS}) + "\n")


def is_of_unseen(track: dict[str, Any], truths: list[dict[str, Any]]) -> bool:
    """Return whether the truth that fits a track best is an unseen object."""
    overlaps = [iou(track["box"], truth["box"]) for truth in truths]
    best = int(np.argmax(overlaps))
    return overlaps[best] >= MIN_IOU and not truths[best]["is_seen"]


if __name__ == "__main__":
    main()
