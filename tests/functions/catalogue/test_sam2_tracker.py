"""Segment Anything 2 as a tracker equals the library over a clip, when resumed, after a loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import SERVERLESS, encoded
from tests.functions.catalogue.recipes import random_picture

if TYPE_CHECKING:
    from common.huggingface.video import VideoTracker

torch = pytest.importorskip("torch", reason="the models need PyTorch")
transformers = pytest.importorskip("transformers", reason="the models are those of transformers")
pytestmark = pytest.mark.models

HEIGHT, WIDTH = 90, 150
FRAMES = 20  # more than the memory bank's pointers, which are 15
SCENE = random_picture(HEIGHT, WIDTH + 4 * FRAMES, seed=5)
CLIP = [SCENE[:, 4 * number : 4 * number + WIDTH] for number in range(FRAMES)]
BOX = [20, 15, 80, 70]
POLYGON = [60, 20, 130, 20, 130, 80, 60, 80]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.functions.catalogue.stand_ins.huggingface import make_sam2

    return make_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture
def tracker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> VideoTracker:
    return new_tracker(folder, monkeypatch)


def new_tracker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> VideoTracker:
    """Return a tracker with an empty bank, as a new worker has."""
    monkeypatch.syspath_prepend(str(SERVERLESS))
    from common.huggingface.video import VideoTracker

    return VideoTracker.load(folder, torch.device("cpu"))


def starts() -> list[dict[str, Any]]:
    return [
        {"type": "rectangle", "points": BOX},
        {"type": "polygon", "points": POLYGON},
        {"type": "points", "points": [40, 40]},
    ]


def library_logits(folder: Path, tracker: Any) -> np.ndarray:
    """Return the library's logits: frames x objects x rows x columns, by one streamed session."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    model = transformers.Sam2VideoModel.from_pretrained(folder).eval()
    prepare = tracker.square.prepare
    session = Sam2VideoInferenceSession(video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32)
    scale = np.array([64 / WIDTH, 64 / HEIGHT])
    corners = np.array(BOX, dtype=float).reshape(2, 2) * scale
    click = np.array([[40.0, 40.0]]) * scale
    for number, (points, kinds) in ((0, (corners, [2, 3])), (2, (click, [1]))):
        index = session.obj_id_to_idx(number) if number == 0 else None
        if index is None:
            session.obj_id_to_idx(1)
            index = session.obj_id_to_idx(number)
        coordinates = torch.from_numpy(points)[None, None].float()
        labels = torch.tensor([[kinds]], dtype=torch.int32)
        inputs = {"point_coords": coordinates, "point_labels": labels}
        session.add_point_inputs(index, 0, inputs)
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 20:81, 60:131] = 1
    mask = torch.nn.functional.interpolate(mask, (64, 64), mode="bilinear", antialias=True)
    session.add_mask_inputs(1, 0, (mask >= 0.5).float())
    session.obj_with_new_inputs = [0, 1, 2]
    logits = []
    with torch.inference_mode():
        for picture in CLIP:
            outputs = model(inference_session=session, frame=prepare(picture, torch.device("cpu")))
            logits.append(
                torch.nn.functional.interpolate(
                    outputs.pred_masks, (HEIGHT, WIDTH), mode="bilinear"
                )[:, 0]
            )
    return torch.stack(logits).numpy()


def call(tracker: Any, number: int, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = tracker.answer({"image": encoded(CLIP[number]), **fields})
    return answer


def shape_mask(shape: dict[str, Any] | None) -> np.ndarray:
    from common.masks import read_run_lengths

    if shape is None:
        return np.zeros((HEIGHT, WIDTH), bool)
    return read_run_lengths(shape["points"], name="m", width=WIDTH, height=HEIGHT)


def test_masks_of_many_objects_over_a_clip_equal_those_of_the_library(
    tracker: VideoTracker, folder: Path
) -> None:
    expected = library_logits(folder, tracker)
    starting = [
        tracker.read_shape(shape, f"shapes[{number}]", CLIP[0])
        for number, shape in enumerate(starts())
    ]
    memories = tracker.start(CLIP[0], starting)
    for number, picture in enumerate(CLIP):
        if number:
            memories = tracker.follow(picture, memories)
        for target, logits in zip(memories, expected[number], strict=True):
            found = torch.nn.functional.interpolate(
                target.logits[None], (HEIGHT, WIDTH), mode="bilinear"
            )[0, 0]
            # The library's memory encoder rounds to bfloat16, which is the same for both.
            np.testing.assert_allclose(found.numpy(), logits, atol=1e-4)
    assert {(logits > 0).any() for logits in expected.reshape(-1, HEIGHT, WIDTH)} != {False}


def test_answers_have_the_type_with_which_an_object_started(tracker: VideoTracker) -> None:
    mask = {"type": "mask", "points": [0, 1200, 30, 30, 69, 59]}
    answer = call(tracker, 0, shapes=[*starts(), mask])
    kinds = [None if shape is None else shape["type"] for shape in answer["shapes"]]
    assert [kind for kind in kinds if kind] == [
        wanted
        for wanted, kind in zip(["rectangle", "polygon", "mask", "mask"], kinds, strict=True)
        if kind
    ]
    # For a start mask the model returns that mask at the coarse size of its input.
    left, top, right, bottom = answer["shapes"][3]["points"][-4:]
    assert np.allclose([left, top, right, bottom], [30, 30, 69, 59], atol=3)


def test_clip_equals_single_calls_and_single_calls_equal_a_resumed_clip(
    tracker: VideoTracker,
) -> None:
    shapes = [*starts(), {"type": "mask", "points": [0, 1200, 30, 30, 69, 59]}]
    single = [call(tracker, 0, shapes=shapes)]
    for number in range(1, 10):
        single.append(call(tracker, number, states=single[-1]["states"]))
    images = [encoded(picture) for picture in CLIP[:10]]
    whole = tracker.answer({"images": images, "shapes": shapes})
    assert whole["results"] == [answer["shapes"] for answer in single]
    # An older handle continues from its own frame, whatever was tracked since.
    resumed = tracker.answer({"images": images[4:], "states": single[3]["states"]})
    assert resumed["results"] == whole["results"][4:]


def test_objects_that_started_on_different_frames_are_followed_together_as_if_alone(
    tracker: VideoTracker,
) -> None:
    mask = {"type": "mask", "points": [0, 1200, 30, 30, 69, 59]}
    first = call(tracker, 0, shapes=[mask])["states"]
    second = call(tracker, 1, states=first)["states"]
    mixed = call(tracker, 2, shapes=[None, mask], states=[second[0], None])
    together = call(tracker, 3, states=mixed["states"])
    alone = [call(tracker, 3, states=[state])["shapes"][0] for state in mixed["states"]]
    assert together["shapes"] == alone


def test_handle_of_another_worker_is_unknown_and_the_object_starts_anew_from_its_shape(
    tracker: VideoTracker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.errors import StateUnknown

    mask = {"type": "mask", "points": [0, 1200, 30, 30, 69, 59]}
    state = call(tracker, 0, shapes=[mask])["states"][0]
    other = new_tracker(folder, monkeypatch)
    known = call(other, 0, shapes=[mask])["states"][0]
    with pytest.raises(StateUnknown) as caught:
        call(other, 1, states=[known, state])
    assert caught.value.objects == [1]
    anew = call(other, 1, shapes=[None, mask], states=[known, None])
    assert anew["shapes"][1]["type"] == "mask"
    assert len(anew["states"]) == 2


def test_bank_drops_the_memories_that_were_used_least_recently(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2_MEMORIES", "2")
    tracker = new_tracker(folder, monkeypatch)
    from common.errors import StateUnknown

    mask = {"type": "mask", "points": [0, 1200, 30, 30, 69, 59]}
    first, second = (call(tracker, 0, shapes=[mask])["states"] for _ in range(2))
    call(tracker, 1, states=first)  # uses the first, and drops the second
    with pytest.raises(StateUnknown):
        call(tracker, 1, states=second)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"type": "ellipse", "points": [1, 2, 3, 4]}, "is of type 'ellipse'"),
        ({"type": "polygon", "points": [1, 2, 3, 4]}, "x and y of 3 points"),
        ({"type": "points", "points": [1]}, "x and y of 1 points"),
        ({"type": "points", "points": [1, float("nan")]}, "x and y of 1 points"),
        ({"type": "polygon", "points": [-9, -9, -5, -9, -5, -5]}, "no pixel on the image"),
        ({"type": "mask", "points": [0, 3, 1, 1, 2, 2]}, "do not fit its box"),
        ({"type": "rectangle", "points": [900, 0, 950, 9]}, "lies outside the image"),
        (None, "is empty and has no state"),
    ],
)
def test_wrong_start_is_refused(tracker: VideoTracker, shape: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(tracker, 0, shapes=[shape])
