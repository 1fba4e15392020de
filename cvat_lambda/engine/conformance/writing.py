"""Conformance tests: annotations are read as they were written."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.annotations.types import AttributeValue, Shape
from cvat_lambda.engine.conformance.scenarios import (
    Bench,
    Scenarios,
    flat,
    unnamed_shape,
    unnamed_track,
)
from cvat_lambda.engine.port import Removal
from cvat_lambda.errors import InvalidRequest


class Writing:
    """Tests of `EngineConformance`."""

    @pytest.mark.parametrize(
        ("kind", "points"),
        [
            ("rectangle", (1.5, 2.25, 30.125, 40.0)),
            ("polygon", (0.0, 0.0, 10.0, 0.0, 10.0, 10.5)),
            ("polyline", (0.0, 0.0, 10.0, 3.5)),
            ("points", (4.0, 5.0)),
            ("ellipse", (20.0, 20.0, 30.0, 10.0)),
            ("cuboid", tuple(float(value) for value in range(16))),
            ("mask", (1.0, 2.0, 3.0, 2.0, 1.0, 3.0, 4.0, 4.0)),
        ],
    )
    def test_shape_comes_back_as_it_was_written(
        self, scenarios: Scenarios, kind: Any, points: tuple[float, ...]
    ) -> None:
        bench = Bench(scenarios)
        shape = Shape(
            type=kind,
            frame=2,
            label_id=bench.label_id("sky" if kind == "mask" else "car"),
            points=points,
            rotation=15.5 if kind == "rectangle" else 0.0,
            occluded=True,
            z_order=3,
            group=2,
            source="auto",
        )
        ((shape_id,),) = bench.write(shapes=[shape]).shape_ids
        (found,) = bench.read().shapes
        assert found.id == shape_id
        assert unnamed_shape(found) == shape

    def test_skeleton_comes_back_with_its_elements(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        person = bench.labels["person"]
        elements = tuple(
            Shape(
                type="points",
                frame=1,
                label_id=sublabel.id or 0,
                points=(place, place + 1.0),
                outside=place > 5,
            )
            for place, sublabel in zip((3.0, 7.0), person.sublabels, strict=True)
        )
        skeleton = Shape(type="skeleton", frame=1, label_id=person.id or 0, elements=elements)
        assert len(bench.write(shapes=[skeleton, bench.box(1)]).shape_ids) == 2
        found = bench.read().shapes
        assert [unnamed_shape(shape) for shape in found] == [skeleton, bench.box(1)]

    def test_attributes_come_back(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        parked, age = bench.labels["car"].attributes
        given = (
            AttributeValue(spec_id=parked.id or 0, value="true"),
            AttributeValue(spec_id=age.id or 0, value="7"),
        )
        bench.write(shapes=[bench.box(0, attributes=given)], tags=[bench.tag(0, attributes=given)])
        found = bench.read()
        assert sorted(found.shapes[0].attributes, key=lambda item: item.spec_id) == list(given)
        assert sorted(found.tags[0].attributes, key=lambda item: item.spec_id) == list(given)

    def test_score_comes_back(self, scenarios: Scenarios) -> None:
        if "score" not in scenarios.features:
            pytest.skip("this engine keeps no scores")
        bench = Bench(scenarios)
        bench.write(shapes=[bench.box(0, score=0.25)], tags=[bench.tag(1, score=0.5)])
        found = bench.read()
        assert (found.shapes[0].score, found.tags[0].score) == (0.25, 0.5)

    def test_tracks_come_back(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        track = bench.track((1, False), (3, True), source="auto")
        ((track_id,),) = bench.write(tracks=[track], frames=[1]).track_ids
        (found,) = bench.read().tracks
        assert found.id == track_id
        assert unnamed_track(found) == track

    def test_tracks_can_be_asked_for_alone(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        assert bench.engine.tracks(bench.task_id) == ()
        early, late = bench.track((0, False), (1, True)), bench.track((3, False), (4, True))
        bench.write(shapes=[bench.box(0)], tracks=[early, late])
        found = bench.read().tracks
        assert bench.engine.tracks(bench.task_id) == found
        assert bench.engine.tracks(bench.task_id, frames=[2, 4]) == found[1:]
        assert bench.engine.tracks(bench.task_id, frames=[2]) == ()

    def test_ids_are_in_the_order_of_what_was_added(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        shapes = [bench.box(frame, left=float(left)) for left, frame in enumerate((3, 0, 3, 1))]
        tags = [bench.tag(frame) for frame in (2, 0)]
        written = bench.write(shapes=shapes, tags=tags)
        found = bench.read()
        by_id = {shape.id: shape.points[0] for shape in found.shapes}
        assert [by_id[ids[0]] for ids in written.shape_ids] == [0.0, 1.0, 2.0, 3.0]
        tag_frames = {tag.id: tag.frame for tag in found.tags}
        assert [tag_frames[ids[0]] for ids in written.tag_ids] == [2, 0]

    def test_many_shapes_are_written_at_once(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        shapes = [bench.box(number % 6, left=float(number)) for number in range(1500)]
        written = bench.write(shapes=shapes)
        assert len(set(flat(written.shape_ids))) == 1500
        assert len(bench.read(frames=[2]).shapes) == 250

    def test_label_of_another_task_is_refused(self, scenarios: Scenarios) -> None:
        bench, other = Bench(scenarios), Bench(scenarios)
        with pytest.raises(InvalidRequest):
            bench.write(shapes=[other.box(0)])
        assert not bench.read()

    def test_failed_transaction_leaves_everything_as_it_was(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        bench.write(shapes=[bench.box(0, left=1.0)])
        with pytest.raises(ZeroDivisionError), scenarios.engine.atomic():
            bench.write(shapes=[bench.box(0, left=5.0)], remove=Removal(policy="all"))
            raise ZeroDivisionError
        assert bench.places() == [(0, 1.0)]
