"""A stand-in for Faster R-CNN's frozen graph: the official tensors, and an answer that is known.

It "detects" the red rectangle of each picture, and one fixed faint object that its own score
filter (0.3, as in the official graph) drops.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow

FAINT = (0.25, 0.5, 0.75, 1.0)  # ymin, xmin, ymax, xmax
FILTER = (
    "SecondStagePostprocessor/map/while/MultiClassNonMaxSuppression/FilterGreaterThan_3/Greater/y"
)


def _extent(tf: Any, lines: Any) -> Any:
    """Return the first and the last+1 true position of each row, as fractions, N x 2."""
    size = tf.shape(lines)[1]
    first = tf.argmax(lines, axis=1)
    last = tf.cast(size, tf.int64) - tf.argmax(tf.reverse(lines, [1]), axis=1)
    return tf.cast(tf.stack([first, last], axis=1), tf.float32) / tf.cast(size, tf.float32)


def make(path: Path) -> Path:
    """Write the frozen graph."""
    tf = tensorflow.compat.v1
    graph = tensorflow.Graph()
    with graph.as_default():
        images = tf.placeholder(tf.uint8, [None, None, None, 3], name="image_tensor")
        values = tf.cast(images, tf.int32)
        red = tf.cast(values[..., 0] - values[..., 1] > 127, tf.int32)
        x = _extent(tf, tf.reduce_max(red, axis=1))
        y = _extent(tf, tf.reduce_max(red, axis=2))
        own = tf.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1)[:, None]
        count = tf.shape(images)[0]
        faint = tf.tile(tf.constant([[FAINT]]), [count, 1, 1])
        filling = tf.zeros_like(faint)
        floor = tf.constant(0.3, name=FILTER)
        scores = tf.tile(tf.constant([[0.875, 0.2, 0.0]]), [count, 1])
        scores = tf.where(scores > floor, scores, tf.zeros_like(scores))
        kept = tf.cast(scores > 0, tf.float32)[..., None]
        tf.multiply(tf.concat([own, faint, filling], axis=1), kept, name="detection_boxes")
        tf.identity(scores, name="detection_scores")
        tf.tile(tf.constant([[90.0, 1.0, 1.0]]), [count, 1], name="detection_classes")
        tf.ones([count], name="num_detections")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path
