"""Conformance tests: annotations that a person edited are kept when a function's are replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine.conformance.scenarios import Bench, Scenarios, flat
from cvat_lambda.engine.port import Removal

Edit = Callable[[Bench, LabeledData], LabeledData]


def _everything(bench: Bench) -> LabeledData:
    """Return a rectangle, a polygon, a mask, a skeleton, a tag and a track, with attributes."""
    parked, age = bench.labels["car"].attributes
    values = (
        AttributeValue(spec_id=parked.id or 0, value="true"),
        AttributeValue(spec_id=age.id or 0, value="7"),
    )
    person = bench.labels["person"]
    elements = tuple(
        Shape(type="points", frame=1, label_id=part.id or 0, points=(left, 4.125), source="auto")
        for left, part in zip((3.0, 7.3), person.sublabels, strict=True)
    )
    shapes = (
        bench.box(1, left=0.1 + 0.2, attributes=values),
        replace(bench.box(1), type="polygon", points=(0.0, 0.0, 10.0, 1 / 3, 10.0, 10.5)),
        Shape(
            type="mask",
            frame=1,
            label_id=bench.label_id("sky"),
            points=(1.0, 2.0, 3.0, 2.0, 1.0, 3.0, 4.0, 4.0),
        ),
        Shape(type="skeleton", frame=1, label_id=person.id or 0, elements=elements),
    )
    keys = tuple(
        TrackedShape(
            type="rectangle",
            frame=frame,
            points=(0.7, 0.1, 5.0, 5.0),
            outside=outside,
            attributes=values[1:],
        )
        for frame, outside in ((1, False), (3, True))
    )
    track = Track(
        frame=1, label_id=bench.label_id("car"), shapes=keys, attributes=values[:1], source="auto"
    )
    return LabeledData(shapes=shapes, tags=(bench.tag(1, attributes=values),), tracks=(track,))


def _shape(place: int, **changes: object) -> Edit:
    def edit(bench: Bench, data: LabeledData) -> LabeledData:
        return LabeledData(shapes=(replace(data.shapes[place], **changes),))  # type: ignore[arg-type]

    return edit


def _skeleton(bench: Bench, data: LabeledData) -> LabeledData:
    skeleton = data.shapes[3]
    first, *others = skeleton.elements
    return LabeledData(
        shapes=(replace(skeleton, elements=(replace(first, points=(3.0, 5.0)), *others)),)
    )


def _attribute(bench: Bench, data: LabeledData) -> LabeledData:
    box = data.shapes[0]
    values = tuple(
        replace(value, value="8") if value.value == "7" else value for value in box.attributes
    )
    return LabeledData(shapes=(replace(box, attributes=values),))


def _tag(bench: Bench, data: LabeledData) -> LabeledData:
    (tag,) = data.tags
    return LabeledData(tags=(replace(tag, attributes=(), source="manual"),))


def _track(bench: Bench, data: LabeledData) -> LabeledData:
    (track,) = data.tracks
    first, *others = track.shapes
    return LabeledData(
        tracks=(replace(track, shapes=(replace(first, points=(2.0, 0.1, 5.0, 5.0)), *others)),)
    )


EDITS: dict[str, Edit] = {
    "move a rectangle": _shape(0, points=(9.0, 2.0, 19.0, 20.0)),
    "move a point of a polygon": _shape(1, points=(0.0, 0.0, 10.0, 2.0, 10.0, 10.5)),
    "paint a mask": _shape(2, points=(0.0, 3.0, 3.0, 2.0, 1.0, 3.0, 4.0, 4.0)),
    "move a point of a skeleton": _skeleton,
    "change an attribute": _attribute,
    "set a flag": _shape(0, occluded=True),
    "change the order": _shape(1, z_order=4),
    "change the source": _shape(0, source="semi-auto"),
    "change a tag": _tag,
    "move a keyframe of a track": _track,
}


def _of(data: LabeledData) -> tuple[Shape | Tag | Track, ...]:
    return (*data.shapes, *data.tags, *data.tracks)


class Edits:
    """Tests of `EngineConformance`."""

    def test_annotation_has_the_same_fingerprint_when_written_and_when_read(
        self, scenarios: Scenarios
    ) -> None:
        bench = Bench(scenarios)
        data = _everything(bench)
        written = bench.write(shapes=data.shapes, tags=data.tags, tracks=data.tracks)
        with scenarios.engine.atomic():
            stored = scenarios.engine.lock_annotations(
                bench.task_id,
                shape_ids=flat(written.shape_ids),
                tag_ids=flat(written.tag_ids),
                track_ids=flat(written.track_ids),
            )
        assert [fingerprint(item) for item in _of(stored)] == [
            fingerprint(item) for item in _of(data)
        ]

    @pytest.mark.parametrize("in_job", [False, True], ids=["task", "job"])
    @pytest.mark.parametrize("name", EDITS)
    def test_annotation_edited_by_a_person_has_another_fingerprint_or_id(
        self, scenarios: Scenarios, name: str, in_job: bool
    ) -> None:
        bench = Bench(scenarios)
        data = _everything(bench)
        bench.write(shapes=data.shapes, tags=data.tags, tracks=data.tracks)
        before = {(type(item), item.id): fingerprint(item) for item in _of(bench.read())}
        edited = EDITS[name](bench, bench.read())
        (job,) = bench.jobs
        scenarios.update(bench.task_id, edited, job_id=job.id if in_job else None)
        (wanted,) = (fingerprint(item) for item in _of(edited))
        with scenarios.engine.atomic():
            stored = scenarios.engine.lock_annotations(
                bench.task_id,
                shape_ids=[pk or 0 for kind, pk in before if kind is Shape],
                tag_ids=[pk or 0 for kind, pk in before if kind is Tag],
                track_ids=[pk or 0 for kind, pk in before if kind is Track],
            )
        unchanged = [i for i in _of(stored) if before[type(i), i.id] == fingerprint(i)]
        assert len(unchanged) == len(before) - 1
        assert wanted in {fingerprint(item) for item in _of(bench.read())}

    def test_automatic_removal_keeps_the_named_annotations(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        written = bench.write(
            shapes=[bench.box(1, left=1.0), bench.box(1, left=2.0)],
            tags=[bench.tag(1), bench.tag(1)],
        )
        shapes, tags = flat(written.shape_ids), flat(written.tag_ids)
        bench.write(
            frames=[1],
            remove=Removal(policy="automatic", kept_shape_ids=shapes[:1], kept_tag_ids=tags[1:]),
        )
        left = bench.read()
        assert [shape.id for shape in left.shapes] == shapes[:1]
        assert [tag.id for tag in left.tags] == tags[1:]
