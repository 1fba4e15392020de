"""Conformance tests: reading frames."""

from __future__ import annotations

import pytest

from cvat_lambda.engine.conformance.scenarios import UNKNOWN, Scenarios
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FrameOutOfScope, TaskNotFound


class Frames:
    """Tests of `EngineConformance`."""

    @pytest.mark.parametrize("video", [False, True], ids=["images", "video"])
    @pytest.mark.parametrize("wanted", [[0, 1, 2, 3, 4, 5], [1, 4], [5]], ids=str)
    def test_frames_come_in_order(
        self, scenarios: Scenarios, wanted: list[int], video: bool
    ) -> None:
        if video and "video" not in scenarios.features:
            pytest.skip("no videos in this engine")
        task_id = scenarios.task(frames=6, video=video)
        frames = [
            frame for frame in scenarios.engine.frames(task_id, wanted) if isinstance(frame, Frame)
        ]
        assert [frame.number for frame in frames] == wanted
        assert [scenarios.picture_of(frame) for frame in frames] == wanted
        for frame in frames:
            assert frame.mime.startswith("image/")
            single = scenarios.engine.frame(task_id, frame.number)
            assert (single.number, single.mime) == (frame.number, frame.mime)
            assert scenarios.picture_of(single) == frame.number

    def test_frame_numbers_are_relative(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=8, start_frame=1, step=3)
        assert scenarios.engine.task(task_id).size == 3
        shown = [
            scenarios.picture_of(frame)
            for frame in scenarios.engine.frames(task_id, range(3))
            if isinstance(frame, Frame)
        ]
        assert shown == [1, 4, 7]
        assert scenarios.picture_of(scenarios.engine.frame(task_id, 2)) == 7

    def test_deleted_frames_can_be_read(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=4, deleted=[1])
        assert scenarios.picture_of(scenarios.engine.frame(task_id, 1)) == 1
        assert scenarios.picture_of(scenarios.engine.frame(task_id, 2)) == 2

    def test_frame_outside_the_task_is_out_of_scope(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=4)
        for number in (4, UNKNOWN):
            with pytest.raises(FrameOutOfScope):
                scenarios.engine.frame(task_id, number)

    @pytest.mark.parametrize("video", [False, True], ids=["images", "video"])
    def test_the_facts_of_frames_are_those_of_the_frames_read(
        self, scenarios: Scenarios, video: bool
    ) -> None:
        if video and "video" not in scenarios.features:
            pytest.skip("no videos in this engine")
        task_id = scenarios.task(frames=6, video=video)
        facts = scenarios.engine.frame_facts(task_id, [4, 1, UNKNOWN])
        assert sorted(facts) == [1, 4]
        for number, known in facts.items():
            frame = scenarios.engine.frame(task_id, number)
            assert (known.width, known.height) == (frame.width, frame.height)
            assert known.name == frame.name or not frame.name

    def test_the_facts_of_no_task_are_none(self, scenarios: Scenarios) -> None:
        with pytest.raises(TaskNotFound):
            scenarios.engine.frame_facts(UNKNOWN, [0])

    def test_frame_keys_are_stable_and_differ(self, scenarios: Scenarios) -> None:
        task_id = scenarios.task(frames=4)
        keys = [scenarios.engine.frame_key(task_id, number) for number in range(4)]
        assert keys == [scenarios.engine.frame_key(task_id, number) for number in range(4)]
        assert len(set(keys)) == 4

    def test_stream_can_be_closed_early(self, scenarios: Scenarios) -> None:
        frames = scenarios.engine.frames(scenarios.task(frames=6), range(6))
        assert next(frames).number == 0
        frames.close()  # type: ignore[attr-defined]
        assert next(frames, None) is None
