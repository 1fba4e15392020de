"""Which annotations of a batch's frames are removed when its results are written.

Annotations that a person edited after a function made them are kept: their fingerprint differs
from the one that was stored with their provenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.serialize import labeled_data_from_json
from cvat_lambda.engine.ids_subquery import ids_subquery
from cvat_lambda.engine.port import Removal
from cvat_lambda.requests.run import merged_rectangles
from cvat_lambda.requests.run.provenance import (
    MADE,
    Made,
    made_by_earlier_requests,
    split_edited,
)
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store.models import ObjectKind, Provenance

SHAPES_AND_TAGS = (ObjectKind.SHAPE, ObjectKind.TAG)


def removal_on(run: ShardRun, frames: Sequence[int]) -> Removal:
    """Return what a batch removes on its frames that are done; call it in its transaction."""
    policy = run.params.replace
    if policy == "none" or not frames:
        return Removal()
    labels = run.replaced_label_ids
    if policy == "all":
        return Removal(policy="all", label_ids=labels)
    function_id = run.spec.id if policy == "function" else None
    made = made_by_earlier_requests(run.task, run.shard, function_id, run.params.roi).filter(
        frame__in=frames, kind__in=SHAPES_AND_TAGS
    )
    rows = [Made(*row) for row in made.values_list(*MADE)]
    unedited, edited = split_edited(run.engine, run.task.id, rows)
    if policy == "function":
        return replace(unedited, label_ids=labels)
    return replace(
        edited,
        label_ids=labels,
        policy="automatic",
        shape_ids=(),
        tag_ids=(),
        kept_shape_ids=edited.shape_ids,
        kept_tag_ids=edited.tag_ids,
    )


def forget_merged_rectangles(run: ShardRun, frames: Sequence[int]) -> None:
    """Forget the rectangles that a ReID request merged and this batch replaces.

    An undo of the ReID request does not restore them. Those that a person had edited stay.
    """
    policy = run.params.replace
    merged = merged_rectangles.on_frames(run.shard, frames)
    if policy == "automatic":
        merged = merged.filter(shape__source="auto")
    shapes = dict(merged.values_list("shape_id", "shape"))
    labels = run.replaced_label_ids
    if labels is not None:
        shapes = {pk: shape for pk, shape in shapes.items() if shape["label_id"] in labels}
    if not shapes:
        return
    found = set(shapes)
    if policy != "all":
        function_id = run.spec.id if policy == "function" else None
        made = made_by_earlier_requests(run.task, run.shard, function_id, run.params.roi).filter(
            frame__in=frames, kind=ObjectKind.SHAPE
        )
        written = dict(made.values_list("object_id", "fingerprint"))
        if policy == "function":
            found &= written.keys()
        found -= {
            pk
            for pk in found & written.keys()
            if written[pk] not in (None, _fingerprint_of_json(shapes[pk]))
        }
    merged_rectangles.forget_shapes(found)
    Provenance.objects.filter(kind=ObjectKind.SHAPE, object_id__in=ids_subquery(found)).delete()


def _fingerprint_of_json(shape: Any) -> int:
    (found,) = labeled_data_from_json({"tags": [], "shapes": [shape], "tracks": []}).shapes
    return fingerprint(found)
