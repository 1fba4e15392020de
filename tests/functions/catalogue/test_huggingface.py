"""Models of transformers: the answers equal those of the library called directly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import SERVERLESS, encoded
from tests.functions.catalogue.recipes import random_picture

torch = pytest.importorskip("torch", reason="the models need PyTorch")
transformers = pytest.importorskip("transformers", reason="the models are those of transformers")
pytestmark = pytest.mark.models

PICTURES = [random_picture(90, 150, seed=3), random_picture(120, 80, seed=4)]
TEXTS = ["a red car", "cat"]
BOX: dict[str, Any] = {"obj_bbox": [[10, 20], [60, 70]]}
Load = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a tiny model, once, and returns its folder."""
    from tests.functions.catalogue.stand_ins import huggingface

    root = tmp_path_factory.mktemp("models")

    def written(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            getattr(huggingface, f"make_{name}")(folder)
        return folder

    return written


@pytest.fixture
def load(folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that loads a tiny model by its name, for a task."""
    monkeypatch.syspath_prepend(str(SERVERLESS))

    def loaded(name: str, task: str) -> Any:
        from common.huggingface import loading

        monkeypatch.setenv("MODEL_PATH", str(folders(name)))
        monkeypatch.setenv("HUGGINGFACE_TASK", task)
        return loading.load()

    return loaded


def pillow(pictures: list[np.ndarray]) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(picture) for picture in pictures]


def sizes(pictures: list[np.ndarray]) -> list[tuple[int, int]]:
    return [picture.shape[:2] for picture in pictures]


def batch(**fields: Any) -> dict[str, Any]:
    return {"images": [encoded(picture) for picture in PICTURES], **fields}


def whole(item: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Return the mask of CVAT's list in the size of the image."""
    left, top, right, bottom = item["mask"][-4:]
    mask = np.zeros(shape, bool)
    part = np.array(item["mask"][:-4], bool).reshape(bottom - top + 1, right - left + 1)
    mask[top : bottom + 1, left : right + 1] = part
    return mask


def assert_rectangles(
    items: list[dict[str, Any]], boxes: Any, scores: Any, names: list[str], shape: tuple[int, int]
) -> None:
    """Compare items with the library's boxes: the best first, clipped at the image's borders."""
    order = np.argsort(-scores.numpy(), kind="stable")
    height, width = shape
    expected = boxes.numpy()[order].clip(0, [width, height, width, height])
    np.testing.assert_allclose([item["points"] for item in items], expected, atol=0.0051)
    np.testing.assert_allclose(
        [item["confidence"] for item in items], scores.numpy()[order], atol=1e-4
    )
    assert [item["label"] for item in items] == [names[number] for number in order]


@pytest.mark.parametrize(
    ("name", "network"),
    [("detector", "RTDetrV2ForObjectDetection"), ("d_fine", "DFineForObjectDetection")],
)
def test_object_detector_on_a_batch_answers_the_boxes_of_the_library(
    load: Load, folders: Callable[[str], Path], name: str, network: str
) -> None:
    folder = folders(name)
    model = getattr(transformers, network).from_pretrained(folder).eval()
    processor = transformers.RTDetrImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        outputs = model(**processor(images=pillow(PICTURES), return_tensors="pt"))
    expected = processor.post_process_object_detection(
        outputs, threshold=0.31, target_sizes=sizes(PICTURES)
    )
    results = load(name, "object-detection").answer(batch(threshold=0.31))["results"]
    for items, found, picture in zip(results, expected, PICTURES, strict=True):
        names = [model.config.id2label[int(number)] for number in found["labels"]]
        assert len(items) > 3
        assert_rectangles(items, found["boxes"], found["scores"], names, picture.shape[:2])


def test_detector_with_a_damaged_image_answers_the_others(load: Load) -> None:
    detector = load("detector", "object-detection")
    body = {"images": [encoded(PICTURES[0]), "AAAA"], "threshold": 0.0}
    first, second = detector.answer(body)["results"]
    assert first == detector.answer({"image": encoded(PICTURES[0]), "threshold": 0.0})
    assert list(second) == ["error"]


def test_grounding_dino_answers_the_scores_of_the_library_with_the_texts_as_labels(
    load: Load, folders: Callable[[str], Path]
) -> None:
    folder = folders("grounding_dino")
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(images=pillow(PICTURES[:1]), text=[TEXTS], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    tokens = inputs["input_ids"][0].tolist()
    stop = processor.tokenizer.convert_tokens_to_ids(".")
    first, second = (number for number, token in enumerate(tokens) if token == stop)
    scores = outputs.logits[0].sigmoid()
    of_text = torch.stack([scores[:, 1:first].amax(1), scores[:, first + 1 : second].amax(1)], 1)
    best, numbers = of_text.max(1)
    [found] = processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=-1.0, target_sizes=sizes(PICTURES[:1])
    )
    detector = load("grounding_dino", "zero-shot-object-detection")
    items = detector.answer({"image": encoded(PICTURES[0]), "text": TEXTS, "threshold": 0.0})
    names = [TEXTS[number] for number in numbers]
    assert_rectangles(items, found["boxes"], best, names, PICTURES[0].shape[:2])
    # The library also returns full stops and special tokens as the best token.
    assert bool((found["scores"] >= best - 1e-6).all())


def test_owlv2_answers_the_boxes_of_the_library_without_repeated_ones(
    load: Load, folders: Callable[[str], Path]
) -> None:
    folder = folders("owl")
    model = transformers.Owlv2ForObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
    inputs = processor(images=pillow(PICTURES), text=[TEXTS] * 2, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    expected = processor.post_process_grounded_object_detection(
        outputs, threshold=0.5, target_sizes=sizes(PICTURES), text_labels=[TEXTS] * 2
    )
    detector = load("owl", "zero-shot-object-detection")
    results = detector.answer(batch(text=TEXTS, threshold=0.5))["results"]
    from common.boxes import class_nms

    for items, found, picture in zip(results, expected, PICTURES, strict=True):
        columns = [found[name].numpy() for name in ("boxes", "scores", "labels")]
        kept = class_nms(*columns, max_iou=0.5).tolist()
        names = [found["text_labels"][number] for number in kept]
        assert len(items) == len(kept) > 0
        assert_rectangles(
            items, found["boxes"][kept], found["scores"][kept], names, picture.shape[:2]
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "'text' is missing"),
        ([], "'text' is missing"),
        ([7], "'text' holds 7"),
        ([""], "'text' holds ''"),
        (["a"] * 65, "'text' has 65 entries"),
        (["a. b"], "a full stop inside"),
        (["cat " * 30], "tokens; send texts of at most"),
    ],
)
def test_text_detector_with_wrong_texts_refuses_the_call(
    load: Load, text: object, message: str
) -> None:
    detector = load("grounding_dino", "zero-shot-object-detection")
    with pytest.raises(ValueError, match=message) as caught:
        detector.answer({"image": encoded(PICTURES[0]), "text": text})
    assert type(caught.value).__name__ == "BadInput"


def test_text_detector_without_texts_in_the_call_uses_those_of_the_function(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXT_PROMPTS", '["cat"]')
    items = load("owl", "zero-shot-object-detection").answer(
        {"image": encoded(PICTURES[0]), "threshold": 0.0}
    )
    assert {item["label"] for item in items} == {"cat"}


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_mask2former_answers_the_masks_of_the_library(
    load: Load, folders: Callable[[str], Path], task: str
) -> None:
    name, threshold = "panoptic" if task == "panoptic" else "mask2former", 0.2
    folder = folders(name)
    model = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    processor = transformers.Mask2FormerImageProcessorPil.from_pretrained(folder)
    picture = PICTURES[0]
    with torch.inference_mode():
        outputs = model(**processor(images=pillow([picture]), return_tensors="pt"))
    names = model.config.id2label
    decode = getattr(processor, f"post_process_{task}_segmentation")
    expected: list[tuple[str, np.ndarray]]
    if task == "semantic":
        [classes] = decode(outputs, target_sizes=sizes([picture]))
        numbers = np.unique(classes.numpy())
        expected = [(names[int(number)], classes.numpy() == number) for number in numbers]
    else:
        more = {"return_binary_maps": True} if task == "instance" else {"label_ids_to_fuse": set()}
        [found] = decode(outputs, threshold=threshold, target_sizes=sizes([picture]), **more)
        maps = found["segmentation"].numpy()
        expected = [
            (names[each["label_id"]], maps[place] > 0 if task == "instance" else maps == each["id"])
            for place, each in enumerate(found["segments_info"])
        ]
    body = {"image": encoded(picture), "threshold": threshold}
    items = load(name, f"{task}-segmentation").answer(body)
    answered = [(item["label"], whole(item, picture.shape[:2])) for item in items]
    assert len(answered) == len(expected) > 0
    for label, mask in expected:
        assert any(label == other and (mask == each).all() for other, each in answered)
    assert all(len(item["points"]) >= 6 for item in items)


def test_vitpose_answers_the_points_of_the_library_in_the_boxes_of_the_detector(
    load: Load, folders: Callable[[str], Path]
) -> None:
    folder, picture = folders("pose"), PICTURES[0]
    items = load("pose", "keypoint-detection").answer({"image": encoded(picture), "threshold": 0.0})
    detector = load("detector", "object-detection")
    persons = [
        item["points"]
        for item in detector.answer({"image": encoded(picture), "threshold": 0.0})
        if item["label"] == "person"
    ]
    boxes = [[[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in persons]]
    model = transformers.VitPoseForPoseEstimation.from_pretrained(folder).eval()
    processor = transformers.VitPoseImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        outputs = model(**processor(pillow([picture]), boxes=boxes, return_tensors="pt"))
    [found] = processor.post_process_pose_estimation(outputs, boxes=boxes)
    height, width = picture.shape[:2]
    expected = []
    for each in found:
        points = each["keypoints"].numpy()
        inside = ((points >= 0) & (points < [width, height])).all(1)
        if (inside & (each["scores"].numpy() >= 0.3)).any():
            expected.append(each)
    assert len(items) == len(expected) > 0
    for item, each in zip(items, expected, strict=True):
        elements = item["elements"]
        assert [element["label"] for element in elements] == ["Nose", "L_Eye", "R_Eye"]
        np.testing.assert_allclose(
            [element["points"] for element in elements], each["keypoints"], atol=0.0051
        )
        np.testing.assert_allclose(
            [element["confidence"] for element in elements], each["scores"], atol=1e-4
        )


def test_classifier_answers_the_probabilities_of_the_library_as_tags(
    load: Load, folders: Callable[[str], Path]
) -> None:
    folder = folders("classifier")
    model = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    processor = transformers.ViTImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**processor(images=pillow(PICTURES), return_tensors="pt")).logits
    results = load("classifier", "image-classification").answer(batch(threshold=0.0))["results"]
    for items, probabilities in zip(results, logits.softmax(-1).numpy(), strict=True):
        order = np.argsort(-probabilities)
        assert [item["label"] for item in items] == [model.config.id2label[n] for n in order]
        np.testing.assert_allclose(
            [item["confidence"] for item in items], probabilities[order], atol=1e-4
        )


# --- Segment Anything 2 ---------------------------------------------------------------------------


def sam2_inputs(folder: Path, picture: np.ndarray, **prompt: Any) -> dict[str, Any]:
    """Return the library's inputs, by its own processor of prompts."""
    from common.huggingface.squares import SquareInput

    device = torch.device("cpu")
    pixels = SquareInput.read(folder, side=64).prepare(picture, device)
    inputs: dict[str, Any] = {"pixel_values": pixels}
    height, width = picture.shape[:2]
    scale = np.array([64 / width, 64 / height])
    if "points" in prompt:
        points = np.array(prompt["points"]) * scale
        inputs["input_points"] = torch.from_numpy(points)[None, None].float()
        inputs["input_labels"] = torch.tensor([[prompt["labels"]]])
    if "box" in prompt:
        box = (np.array(prompt["box"]).reshape(2, 2) * scale).reshape(1, 1, 4)
        inputs["input_boxes"] = torch.from_numpy(box).float()
    return inputs


@pytest.mark.parametrize(
    ("body", "prompt", "several"),
    [
        ({"pos_points": [[40, 50]]}, {"points": [[40, 50]], "labels": [1]}, True),
        (
            {"pos_points": [[40, 50]], "neg_points": [[90, 20]]},
            {"points": [[40, 50], [90, 20]], "labels": [1, 0]},
            False,
        ),
        ({"obj_bbox": [[10, 20], [80, 70]]}, {"box": [10, 20, 80, 70]}, False),
        (
            {"obj_bbox": [[10, 20], [80, 70]], "pos_points": [[40, 50]]},
            {"points": [[40, 50]], "labels": [1], "box": [10, 20, 80, 70]},
            False,
        ),
    ],
    ids=["click", "two clicks", "box", "box and click"],
)
def test_sam2_answers_the_logits_of_the_library(
    load: Load,
    folders: Callable[[str], Path],
    body: dict[str, Any],
    prompt: dict[str, Any],
    several: bool,
) -> None:
    picture = PICTURES[0]
    interactor = load("sam2", "mask-generation")
    model = transformers.Sam2Model.from_pretrained(folders("sam2")).eval()
    with torch.inference_mode():
        outputs = model(**sam2_inputs(folders("sam2"), picture, **prompt), multimask_output=several)
        best = int(outputs.iou_scores[0, 0].argmax())
        expected = torch.nn.functional.interpolate(
            outputs.pred_masks[:, 0, best : best + 1], picture.shape[:2], mode="bilinear"
        )[0, 0]
    from common.networks.prompts import read_prompt

    logits = interactor.logits(interactor.embed(picture), read_prompt(body), None)
    np.testing.assert_allclose(logits.numpy(), expected.numpy(), atol=1e-4)
    answer = interactor.answer({"image": encoded(picture), **body})
    assert set(answer) == {"mask", "bounds", "points"}
    assert np.array(answer["mask"]).any() == bool((expected > 0).any())


def test_sam2_with_its_embedding_instead_of_the_image_answers_nearly_the_same_mask(
    load: Load,
) -> None:
    interactor = load("sam2", "mask-generation")
    prompt = {"pos_points": [[40, 50]]}
    first = interactor.answer({"image": encoded(PICTURES[0]), "want": "embedding", **prompt})
    assert first["embedding"]["dtype"] == "float16"
    second = interactor.answer({"embedding": first["embedding"], **prompt})
    assert second["bounds"] == pytest.approx(first["bounds"], abs=2)


def test_sam2_with_the_key_of_an_embedding_answers_as_with_the_image_again_and_again(
    load: Load,
) -> None:
    """No click changes the embedding that the process keeps."""
    interactor = load("sam2", "mask-generation")
    image, prompts = {"image": encoded(PICTURES[0])}, [{"pos_points": [[40, 50]]}, BOX]
    expected = [interactor.answer({**image, **prompt})["bounds"] for prompt in prompts]
    interactor.answer({**image, "want": "embedding", "embedding_key": "k"})
    for _ in range(2):
        found = [
            interactor.answer({"embedding_key": "k", **prompt})["bounds"] for prompt in prompts
        ]
        assert found == [pytest.approx(bounds, abs=2) for bounds in expected]


def test_sam2_with_the_embedding_of_other_weights_refuses_it(load: Load) -> None:
    interactor = load("sam2", "mask-generation")
    embedding = interactor.answer({"image": encoded(PICTURES[0]), "want": "embedding"})["embedding"]
    embedding["version"] = "sam2-other"
    with pytest.raises(ValueError, match="send 'image' instead"):
        interactor.answer({"embedding": embedding, "pos_points": [[40, 50]]})


def test_sam2_with_a_drawn_mask_answers_another_mask_than_without(load: Load) -> None:
    interactor = load("sam2", "mask-generation")
    body = {"image": encoded(PICTURES[0]), "pos_points": [[40, 50]]}
    drawn = [0, 600, 20, 30, 49, 49]
    assert interactor.answer({**body, "mask": drawn}) != interactor.answer(body)
    with pytest.raises(ValueError, match="'mask' has run lengths that do not fit"):
        interactor.answer({**body, "mask": [*drawn[:-1], 50]})


def test_sam2_in_several_threads_at_the_same_time_answers_as_alone(load: Load) -> None:
    interactor = load("sam2", "mask-generation")
    bodies: list[dict[str, Any]] = [
        {"image": encoded(picture), "obj_bbox": [[10, 20], [60, 60 + 5 * number]]}
        for number in range(4)
        for picture in PICTURES
    ]
    alone = [interactor.answer(body)["bounds"] for body in bodies]
    with ThreadPoolExecutor(4) as pool:
        together = [answer["bounds"] for answer in pool.map(interactor.answer, bodies)]
    assert together == [pytest.approx(bounds, abs=2) for bounds in alone]


def test_sam2_without_a_prompt_refuses_the_call(load: Load) -> None:
    with pytest.raises(ValueError, match="there is no positive point"):
        load("sam2", "mask-generation").answer({"image": encoded(PICTURES[0])})


# --- Segment Anything 3 ---------------------------------------------------------------------------


def test_sam3_answers_the_masks_of_the_library_for_texts_and_examples(
    load: Load, folders: Callable[[str], Path]
) -> None:
    folder, picture = folders("sam3"), PICTURES[0]
    detector = load("sam3", "zero-shot-segmentation")
    from common.huggingface.squares import SquareInput

    model = transformers.Sam3Model.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = SquareInput.read(folder, side=112).prepare(picture, torch.device("cpu"))
    body = {
        "image": encoded(picture),
        "text": ["cat"],
        "exemplars": [{"box": [30, 18, 90, 72], "label": "cup"}],
        "threshold": 0.2,
    }
    items = detector.answer(body)
    tokens = {
        text: tokenizer(text, return_tensors="pt", padding="max_length", max_length=32)
        for text in ("cat", "visual")
    }
    boxes = torch.tensor([[[60 / 150, 45 / 90, 60 / 150, 54 / 90]]])
    expected = []
    for label, text, more in (("cat", "cat", {}), ("cup", "visual", {"input_boxes": boxes})):
        if more:
            more["input_boxes_labels"] = torch.ones((1, 1), dtype=torch.int64)
        with torch.inference_mode():
            outputs = model(
                pixel_values=pixels,
                input_ids=tokens[text]["input_ids"],
                attention_mask=tokens[text]["attention_mask"],
                **more,
            )
        scores = (outputs.pred_logits.sigmoid() * outputs.presence_logits.sigmoid())[0]
        masks = torch.nn.functional.interpolate(
            outputs.pred_masks.sigmoid(), picture.shape[:2], mode="bilinear"
        )[0]
        for score, mask in zip(scores, masks, strict=True):
            if score > 0.2 and bool((mask > 0.5).any()):
                expected.append((label, float(score), (mask > 0.5).numpy()))
    assert {label for label, _, _ in expected} == {"cat", "cup"}
    assert len(items) == len(expected)
    for label, score, mask in expected:
        assert any(
            item["label"] == label
            and abs(item["confidence"] - score) < 1e-4
            and (whole(item, picture.shape[:2]) == mask).all()
            for item in items
        )


def test_roi_align_of_a_plane_returns_its_values_at_the_middles_of_the_cells(load: Load) -> None:
    load("detector", "object-detection")  # puts `common` on the path
    from common.huggingface.roi_align import roi_align

    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    plane = (2 * columns + 3 * rows)[None, None]
    [pooled] = roi_align(plane, [torch.tensor([[4.0, 2.0, 18.0, 16.0]])], 7)
    middles_x, middles_y = 4 + 2 * (torch.arange(7) + 0.5), 2 + 2 * (torch.arange(7) + 0.5)
    expected = 2 * middles_x[None, :] + 3 * middles_y[:, None]
    np.testing.assert_allclose(pooled[0], expected, atol=1e-4)


# --- precision -----------------------------------------------------------------------------------


def test_detector_in_half_precision_stays_near_the_one_in_float32(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = load("classifier", "image-classification")
    body = {"image": encoded(PICTURES[0]), "threshold": 0.0}
    exact = {item["label"]: item["confidence"] for item in detector.answer(body)}
    monkeypatch.setenv("TORCH_PRECISION", "bfloat16")  # float16 takes minutes on a CPU
    near = {item["label"]: item["confidence"] for item in detector.answer(body)}
    assert near == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("task", [None, "", "detection"])
def test_unknown_task_is_refused_with_the_known_ones(
    load: Load, monkeypatch: pytest.MonkeyPatch, task: str | None
) -> None:
    load("detector", "object-detection")
    from common.huggingface.loading import load as load_model

    monkeypatch.delenv("HUGGINGFACE_TASK")
    if task is not None:
        monkeypatch.setenv("HUGGINGFACE_TASK", task)
    with pytest.raises(ValueError, match="use one of image-classification"):
        load_model()


def test_importing_the_models_imports_no_torchvision(load: Load) -> None:
    load("detector", "object-detection")
    assert "torchvision" not in sys.modules
