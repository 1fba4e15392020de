"""Segment Anything: official checkpoints in three sizes, agreement with the official package."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.functions.catalogue.harness import Function, encoded
from tests.functions.catalogue.recipes import (
    fixture,
    official_shapes,
    random_picture,
    random_weights,
    relative_error,
    samples,
)

torch = pytest.importorskip("torch", reason="Segment Anything needs PyTorch")
pytest.importorskip("transformers", reason="Segment Anything needs transformers")
pytestmark = pytest.mark.models

FOLDER = "pytorch/facebookresearch/sam_vit_h"
EXPECTED = fixture("sam_small.outputs.json")
SMALL = {
    "hidden_size": EXPECTED["shape"]["width"],
    "num_hidden_layers": EXPECTED["shape"]["depth"],
    "num_attention_heads": EXPECTED["shape"]["heads"],
    "global_attn_indexes": EXPECTED["shape"]["global_blocks"],
    "window_size": EXPECTED["shape"]["window"],
    "image_size": EXPECTED["shape"]["side"],
}
PICTURE = random_picture(90, 150, seed=3)


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Function:
    """Return the function, started with the fixture's small network as one more variant."""
    loaded = Function(FOLDER)
    weights = random_weights(official_shapes("sam_small.shapes.json"), EXPECTED["gains"])
    path: Path = tmp_path_factory.mktemp("sam") / "small.pth"
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, path)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODEL_PATH", str(path))
        environment.setitem(loaded.network.VARIANTS, "small", SMALL)
        loaded.start()
    return loaded


def _body(prompt: dict[str, Any], **more: Any) -> dict[str, Any]:
    box = prompt["box"]
    corners = [box[:2], box[2:]] if box else []  # as CVAT's canvas sends them
    return {
        "pos_points": prompt["pos"],
        "neg_points": prompt["neg"],
        "obj_bbox": corners,
        "image": encoded(PICTURE),
        **more,
    }


def _whole(answer: dict[str, Any]) -> np.ndarray:
    mask = np.zeros(PICTURE.shape[:2], bool)
    left, top, right, bottom = answer["bounds"]
    mask[top : bottom + 1, left : right + 1] = np.array(answer["mask"]) == 255
    return mask


def test_the_log_says_what_it_runs_on(function: Function) -> None:
    [line] = function.logged
    assert re.fullmatch(r"The model runs on (cpu in float32|cuda.* in float16)", line)


@pytest.mark.parametrize("variant", ["vit_h", "vit_l", "vit_b"])
def test_official_checkpoint_fits_the_librarys_network_after_renaming(variant: str) -> None:
    network = Function(FOLDER).network
    official = official_shapes(f"sam_{variant}.shapes.json")
    parameters = {name: torch.empty(shape, device="meta") for name, shape in official.items()}
    renamed = {name: value.shape for name, value in network.renamed(parameters).items()}
    model = network.without_weights(network.VARIANTS[variant])
    assert renamed == {name: value.shape for name, value in model.state_dict().items()}


def test_the_embedding_equals_the_official_packages(function: Function) -> None:
    embedding = function.context.user_data.model.embed(PICTURE)
    np.testing.assert_allclose(samples(embedding.values, 256), EXPECTED["embedding"], atol=1e-4)


def test_half_precision_stays_near(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    interactor = function.context.user_data.model
    monkeypatch.setenv("TORCH_PRECISION", "float32")
    values = interactor.embed(PICTURE).values
    monkeypatch.setenv("TORCH_PRECISION", "bfloat16")  # float16 takes minutes on a CPU
    assert 0 < relative_error(interactor.embed(PICTURE).values, values) < 0.03


@pytest.mark.parametrize("prompt", EXPECTED["prompts"], ids=["point", "points", "box", "all"])
def test_the_logits_equal_the_official_packages(function: Function, prompt: dict[str, Any]) -> None:
    interactor = function.context.user_data.model
    shown = function.model.read_prompt(_body(prompt))
    logits = interactor.logits(interactor.embed(PICTURE), shown).numpy()
    np.testing.assert_allclose(samples(logits, 256), prompt["logits"], atol=1e-4)


@pytest.mark.parametrize("prompt", EXPECTED["prompts"], ids=["point", "points", "box", "all"])
def test_a_prompt_is_answered_by_mask_bounds_and_blob(
    function: Function, prompt: dict[str, Any]
) -> None:
    status, answer = function.invoke(_body(prompt))
    assert status == 200
    assert abs(int(_whole(answer).sum()) - prompt["area"]) <= 2
    assert len(answer["points"]) >= 3
    values = np.frombuffer(base64.b64decode(answer["blob"]), "<f4")
    assert values.size == 256 * 8 * 8
    np.testing.assert_allclose(samples(values, 256), EXPECTED["embedding"], atol=1e-4)


def test_without_a_prompt_the_answer_is_the_blob_as_cvats_plugin_takes_it(
    function: Function,
) -> None:
    status, answer = function.invoke({"image": encoded(PICTURE), "pos_points": [], "obj_bbox": []})
    assert (status, list(answer)) == (200, ["blob"])


def test_an_answered_embedding_replaces_the_image(function: Function) -> None:
    prompt = EXPECTED["prompts"][1]
    status, first = function.invoke(_body(prompt, want="embedding"))
    assert status == 200
    embedding = json.loads(json.dumps(first["embedding"]))
    assert embedding["shape"] == [1, 256, 8, 8]
    assert embedding["image_size"] == [90, 150]
    assert re.fullmatch("segment-anything-small-[0-9a-f]{12}", embedding["version"])
    status, second = function.invoke(_body(prompt, image=None, embedding=embedding))
    assert status == 200
    assert second == {name: first[name] for name in ("mask", "bounds", "points")}


#: sent members, whether there is a prompt, `want`; the members of the answer
ANSWERS = [
    ("image", False, None, ["blob"]),
    ("image", True, None, ["blob", "mask"]),
    ("image", True, "mask", ["mask"]),
    ("image", True, "blob", ["blob"]),
    ("image", False, "embedding", ["embedding"]),
    ("image", True, "embedding", ["embedding", "mask"]),
    ("embedding", True, None, ["mask"]),
    ("embedding", True, "mask", ["mask"]),
    ("embedding", False, "blob", ["blob"]),
    ("embedding", True, "blob", ["blob"]),
]


@pytest.mark.parametrize(("sent", "shown", "want", "held"), ANSWERS)
def test_the_blob_is_answered_only_to_calls_with_an_image(
    function: Function, sent: str, shown: bool, want: str | None, held: list[str]
) -> None:
    embedding = function.invoke({"image": encoded(PICTURE), "want": "embedding"})[1]["embedding"]
    body = _body(EXPECTED["prompts"][2]) if shown else {}
    body["image"] = encoded(PICTURE) if sent == "image" else None
    body["embedding"] = embedding if sent == "embedding" else None
    status, answer = function.invoke({**body, "want": want})
    assert status == 200
    assert sorted(set(answer) - {"bounds", "points"}) == held
    # An answer contains the text of an embedding once at most, and an answer with a mask only not.
    copies = json.dumps(answer).count(embedding["data"])
    assert copies == ("blob" in held or "embedding" in held)
    if "blob" in held:
        assert answer["blob"] == embedding["data"]


def test_an_embedding_without_a_prompt_is_refused(function: Function) -> None:
    embedding = function.invoke({"image": encoded(PICTURE), "want": "embedding"})[1]["embedding"]
    for want in (None, "mask"):
        status, answer = function.invoke({"embedding": embedding, "want": want})
        assert (status, answer["error"][:29]) == (400, "there is no positive point in")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": "segment-anything-vit_b"}, "is of version 'segment-anything-vit_b'"),
        ({"shape": [1, 256, 64, 64]}, "do not fit its shape"),
        ({"image_size": [0, 5]}, "has no image_size"),
        ({"image_size": [1_000_000, 1_000_000]}, "has 1000000x1000000 pixels, more than the limit"),
        ({"data": "!"}, "not base64"),
    ],
)
def test_a_wrong_embedding_is_refused_with_a_sentence(
    function: Function, change: dict[str, Any], words: str
) -> None:
    prompt = EXPECTED["prompts"][0]
    _, answer = function.invoke(_body(prompt, want="embedding"))
    sent = {**answer["embedding"], **change}
    status, refusal = function.invoke(_body(prompt, embedding=sent, image=None))
    assert status == 400
    assert words in refusal["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"pos_points": [[1, 1]]}, "'image' is missing"),
        ({"image": encoded(PICTURE), "want": "mask"}, "no positive point"),
        (
            {"image": encoded(PICTURE), "want": "masks"},
            "'want' is 'masks'; send one of mask, blob,",
        ),
        ({"image": encoded(PICTURE), "pos_points": [[1]]}, "'pos_points' holds [1]"),
        ({"image": encoded(PICTURE), "obj_bbox": [[1, 2]]}, "'obj_bbox' has 1 corners"),
    ],
)
def test_bad_input_is_a_sentence(function: Function, body: dict[str, Any], words: str) -> None:
    status, answer = function.invoke(body)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize("parameter", ["layers.0.attn.qkv.weight", "neck.layer_norm2.bias"])
def test_weights_of_one_size_that_differ_have_names_that_differ(
    function: Function, parameter: str
) -> None:
    empty = function.network.without_weights(SMALL).vision_encoder
    encoder = empty.to_empty(device="cpu")
    for values in encoder.parameters():
        torch.nn.init.normal_(values)
    before = function.model.fingerprint(encoder)
    assert before == function.model.fingerprint(encoder)
    values = encoder.get_parameter(parameter)
    with torch.no_grad():  # a small change, as by training
        values += 1e-3 * torch.rand_like(values)
    assert function.model.fingerprint(encoder) != before


def test_an_unknown_variant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM_VARIANT", "vit_x")
    with pytest.raises(ValueError, match="SAM_VARIANT is 'vit_x'; use one of vit_h, vit_l, vit_b"):
        Function(FOLDER).model.wanted_file()


def test_a_checkpoint_of_no_known_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 5)}, path)
    with pytest.raises(Exception, match=r"'other\.pth' is of no known size"):
        Function(FOLDER).model.load_network(path)


def test_checkpoint_in_half_precision_runs_in_float32(
    function: Function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_weights(official_shapes("sam_small.shapes.json"), EXPECTED["gains"])
    path = tmp_path / "half.pth"
    torch.save({name: torch.from_numpy(value).half() for name, value in weights.items()}, path)
    monkeypatch.setitem(function.network.VARIANTS, "small", SMALL)
    network, _ = function.model.load_network(path)
    interactor = function.model.Interactor(network, version="half")
    full = function.context.user_data.model
    assert relative_error(interactor.embed(PICTURE).values, full.embed(PICTURE).values) < 0.03
    prompt = function.model.read_prompt(_body(EXPECTED["prompts"][2]))
    assert interactor.mask(interactor.embed(PICTURE), prompt).any()


def test_calls_of_several_threads_at_the_same_time_are_answered_by_their_own_masks(
    function: Function,
) -> None:
    prompts = EXPECTED["prompts"] * 3
    bodies = [_body(prompt, want="mask") for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(function.invoke, bodies))
    for (status, answer), prompt in zip(answers, prompts, strict=True):
        assert status == 200
        assert abs(int(_whole(answer).sum()) - prompt["area"]) <= 2


def test_checkpoint_with_a_missing_parameter_is_refused_by_name(
    function: Function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_weights(official_shapes("sam_small.shapes.json"))
    del weights["mask_decoder.iou_token.weight"]
    path = tmp_path / "broken.pth"
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, path)
    monkeypatch.setitem(function.network.VARIANTS, "small", SMALL)
    with pytest.raises(Exception, match=r"1 missing \(mask_decoder\.iou_token\.weight\)"):
        function.model.load_network(path)
