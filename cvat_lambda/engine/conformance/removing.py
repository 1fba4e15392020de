"""Conformance tests: what a change removes and what it keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cvat_lambda.annotations.types import Shape
from cvat_lambda.engine.conformance.scenarios import Bench, Scenarios, flat
from cvat_lambda.engine.port import Removal


class Removing:
    """Tests of `EngineConformance`."""

    def test_removing_all_touches_only_the_frames_of_the_change(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        before = bench.write(
            shapes=[bench.box(frame) for frame in range(4)],
            tags=[bench.tag(frame) for frame in range(4)],
            tracks=[bench.track((1, False))],
        )
        shape_ids, tag_ids = flat(before.shape_ids), flat(before.tag_ids)
        written = bench.write(
            shapes=[bench.box(1, left=50.0)], frames=[1, 2], remove=Removal(policy="all")
        )
        assert bench.places() == [(0, 1.0), (1, 50.0), (3, 1.0)]
        assert [tag.frame for tag in bench.read().tags] == [0, 3]
        assert len(bench.read().tracks) == 1
        assert written.removed == 4
        assert set(written.removed_shape_ids) == {shape_ids[1], shape_ids[2]}
        assert set(written.removed_tag_ids) == {tag_ids[1], tag_ids[2]}
        assert written.removed_track_ids == ()

    def test_removing_what_is_automatic_keeps_what_people_made(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        sources: list[Any] = ["auto", "manual", "semi-auto", "file"]
        bench.write(
            shapes=[
                bench.box(1, left=float(place), source=source)
                for place, source in enumerate(sources)
            ]
        )
        bench.write(frames=[1], remove=Removal(policy="automatic"))
        assert sorted(shape.source for shape in bench.read().shapes) == sorted(sources[1:])

    @pytest.mark.parametrize("policy", ["all", "automatic"])
    def test_removing_only_some_labels_keeps_the_others(
        self, scenarios: Scenarios, policy: Any
    ) -> None:
        bench = Bench(scenarios)
        first, second = bench.label_id("car"), bench.label_id("sky")
        bench.write(
            shapes=[replace(bench.box(0), label_id=pk) for pk in (first, second)],
            tags=[replace(bench.tag(0), label_id=pk) for pk in (first, second)],
        )
        bench.write(frames=[0], remove=Removal(policy=policy, label_ids=(first,)))
        assert [shape.label_id for shape in bench.read().shapes] == [second]
        assert [tag.label_id for tag in bench.read().tags] == [second]

    def test_removing_by_id_only_some_labels_keeps_the_others(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        first, second = bench.label_id("car"), bench.label_id("sky")
        written = bench.write(
            shapes=[replace(bench.box(0), label_id=pk) for pk in (first, second)],
            tags=[replace(bench.tag(0), label_id=pk) for pk in (first, second)],
        )
        removal = Removal(
            policy="ids",
            shape_ids=flat(written.shape_ids),
            tag_ids=flat(written.tag_ids),
            label_ids=(second,),
        )
        bench.write(remove=removal)
        assert [shape.label_id for shape in bench.read().shapes] == [first]
        assert [tag.label_id for tag in bench.read().tags] == [first]

    def test_removing_by_id_is_exact_and_may_be_repeated(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        written = bench.write(
            shapes=[bench.box(0, left=1.0), bench.box(0, left=2.0)],
            tags=[bench.tag(0), bench.tag(1)],
            tracks=[bench.track((0, False)), bench.track((1, False))],
        )
        removal = Removal(
            policy="ids",
            shape_ids=written.shape_ids[0],
            tag_ids=written.tag_ids[0],
            track_ids=written.track_ids[0],
        )
        gone = bench.write(remove=removal)
        assert (gone.removed_shape_ids, gone.removed_tag_ids, gone.removed_track_ids) == (
            written.shape_ids[0],
            written.tag_ids[0],
            written.track_ids[0],
        )
        assert bench.write(remove=removal).removed == 0
        left = bench.read()
        assert [shape.id for shape in left.shapes] == list(written.shape_ids[1])
        assert [tag.id for tag in left.tags] == list(written.tag_ids[1])
        assert [track.id for track in left.tracks] == list(written.track_ids[1])

    def test_removed_skeleton_takes_its_elements_along(self, scenarios: Scenarios) -> None:
        bench = Bench(scenarios)
        person = bench.labels["person"]
        head = Shape(
            type="points", frame=0, label_id=person.sublabels[0].id or 0, points=(1.0, 1.0)
        )
        skeleton = Shape(type="skeleton", frame=0, label_id=person.id or 0, elements=(head,))
        ((skeleton_id,),) = bench.write(shapes=[skeleton]).shape_ids
        written = bench.write(frames=[0], remove=Removal(policy="all"))
        assert written.removed_shape_ids == (skeleton_id,)
        assert not bench.read()
