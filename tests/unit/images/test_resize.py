"""Images become smaller only where the function says so; results come back at full size."""

from __future__ import annotations

import io
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.errors import FrameUnreadable
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.images.resize import ResizedImage, resize

HALF = ResizedImage(data=b"", scale_x=0.5, scale_y=0.5)


def image(kind: str = "JPEG", size: tuple[int, int] = (200, 100), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def spec(**declared: Any) -> FunctionSpec:
    return FunctionSpec(id="fn", kind=Kind.DETECTOR, name="Fn", **declared)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"max_body_bytes": 10},  # it declares nothing that would allow a change
        {"max_image_side": 200},
        {"accepts": ("image/jpeg",)},
        {"accepts": ("image/png", "image/jpeg"), "max_image_side": 500},
    ],
)
def test_an_image_that_fits_is_sent_as_it_is(declared: dict[str, Any]) -> None:
    data = image()
    assert resize(data, spec(**declared)) == ResizedImage(data=data)


def test_without_a_declaration_even_what_is_no_image_is_sent() -> None:
    assert resize(b"no image", spec()).data == b"no image"


@pytest.mark.parametrize(
    ("kind", "accepts", "sent"),
    [
        ("JPEG", (), "JPEG"),
        ("PNG", (), "PNG"),  # nothing says that JPEG would do
        ("PNG", ("image/png", "image/jpeg"), "PNG"),
        ("PNG", ("image/jpeg",), "JPEG"),
        ("TIFF", ("image/png",), "PNG"),
        ("TIFF", (), "PNG"),
    ],
)
def test_downscaling_keeps_the_type_where_it_is_taken(
    kind: str, accepts: tuple[str, ...], sent: str
) -> None:
    resized = resize(image(kind), spec(accepts=accepts, max_image_side=50))
    assert (opened(resized.data).format, opened(resized.data).size) == (sent, (50, 25))
    assert (resized.scale_x, resized.scale_y) == (0.25, 0.25)


def test_a_type_that_is_not_taken_is_changed_at_full_size() -> None:
    resized = resize(image("PNG"), spec(accepts=("image/jpeg",)))
    assert (opened(resized.data).format, opened(resized.data).size) == ("JPEG", (200, 100))
    assert not resized.is_scaled


def test_an_image_too_heavy_for_a_body_becomes_jpeg_where_that_is_taken() -> None:
    data = image("PNG", (400, 400))
    resized = resize(data, spec(accepts=("image/png", "image/jpeg"), max_body_bytes=300_000))
    assert opened(resized.data).format == "JPEG"
    assert len(resized.data) * 4 / 3 < 300_000 < len(data) * 4 / 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_every_mode_can_be_sent_as_jpeg(mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    buffer = io.BytesIO()
    source = (
        Image.fromarray(np.full((100, 200), 40_000, dtype=np.uint16))
        if mode == "I;16"
        else Image.new("RGB", (200, 100), "white").convert(mode)
    )
    source.save(buffer, kind)
    sent = opened(resize(buffer.getvalue(), spec(accepts=("image/jpeg",))).data)
    assert sent.convert("L").getpixel((50, 50)) == pytest.approx(
        156 if mode == "I;16" else 255, abs=4
    )


def test_the_orientation_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100)).save(buffer, "JPEG", exif=exif)
    sent = opened(resize(buffer.getvalue(), spec(max_image_side=50)).data)
    assert sent.getexif()[0x0112] == 6


@pytest.mark.parametrize("data", [b"no image", image()[:300]])
def test_what_cannot_be_read_is_said(data: bytes) -> None:
    with pytest.raises(FrameUnreadable, match="function 'fn'"):
        resize(data, spec(max_image_side=50))


def test_points_go_there_and_back() -> None:
    resized = ResizedImage(data=b"", scale_x=0.5, scale_y=0.25)
    assert resized.scale_points([10, 20, 30, 40]) == [5, 5, 15, 10]
    assert resized.restore_points([5, 5, 15, 10]) == [10, 20, 30, 40]


def test_a_detectors_answer_comes_back_at_full_size() -> None:
    resized = ResizedImage(data=b"", scale_x=0.5, scale_y=0.5)
    answer: list[Any] = [
        {"label": "car", "type": "rectangle", "points": [1, 2, 3, 4], "confidence": "0.5"},
        {"label": "man", "type": "skeleton", "elements": [{"label": "1", "points": [1, 2]}]},
        {"label": "cat", "type": "mask", "mask": [1, 0, 0, 1, 1, 0, 2, 1]},
        "nonsense",
        {"label": "bad", "points": ["a"]},
    ]
    car, man, cat, nonsense, bad = resized.restore_detections(answer)
    assert car["points"] == [2, 4, 6, 8]
    assert man["elements"][0]["points"] == [2, 4]
    bitmap, left, top = rle.decode(cat["rle"])
    assert (left, top) == (2, 0)
    assert bitmap.astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]
    assert (nonsense, bad) == ("nonsense", {"label": "bad", "points": ["a"]})
    assert answer[0]["points"] == [1, 2, 3, 4]  # the given answer is not changed


def test_a_mask_scaled_by_an_uneven_ratio_covers_the_same_part() -> None:
    whole = np.zeros((90, 130), dtype=bool)
    whole[20:70, 30:100] = True
    small = np.asarray(Image.fromarray(whole).resize((47, 33)))
    resized = ResizedImage(data=b"", scale_x=47 / 130, scale_y=33 / 90)
    (item,) = resized.restore_detections([{"rle": list(rle.encode(small, 0, 0))}])
    assert rle.iou(item["rle"], rle.encode(whole, 0, 0)) > 0.93


@pytest.mark.parametrize("number", [10**400, 1e999, -1e999, math.nan, None, "1", True, 10**10])
def test_points_that_are_no_numbers_are_left_for_the_validation(number: Any) -> None:
    """One of them was divided, and the error ended the whole request."""
    answer = [
        {"label": "car", "type": "rectangle", "points": [1, 2, 3, number]},
        {"label": "man", "type": "skeleton", "elements": [{"label": "1", "points": [number, 2]}]},
    ]
    assert repr(HALF.restore_detections(answer)) == repr(answer)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"type": "mask", "mask": [1, 0, 0, 1, 1]}, "mask"),
        ({"type": "mask", "mask": []}, "mask"),
        ({"type": "mask", "mask": [10**400, 0, 0, 0, 0]}, "mask"),
        ({"type": "mask", "mask": ["1", 0, 0, 0, 0]}, "mask"),
        ({"type": "mask", "rle": [0, 1, 0, 0, 10**400, 0]}, "rle"),
        ({"type": "mask", "rle": [0, 268435456, 0, 0, 16383, 16383]}, "rle"),
        ({"type": "skeleton", "elements": [{}, {"type": "mask", "rle": [1]}]}, "elements[1].rle"),
        ({"type": "rectangle", "points": [1, 2, 3, 4], "mask": []}, None),  # which is not read
        ({"type": "mask", "mask": "text"}, None),  # left for the validation
    ],
)
def test_a_malformed_mask_of_a_scaled_image_is_named(item: Any, field: str | None) -> None:
    if field is None:
        HALF.restore_detections([{}, item])
        return
    with pytest.raises(AnswerError) as refused:
        HALF.restore_detections([{}, item])
    assert (refused.value.item, refused.value.field) == (1, field)


def test_a_huge_box_is_refused_before_it_costs_memory() -> None:
    """60 bytes took 20 s and 2.4 GB."""
    resized = ResizedImage(data=b"", scale_x=0.01, scale_y=0.01, size=(64, 48))
    tracemalloc.start()
    try:
        with pytest.raises(AnswerError, match="too large"):
            resized.restore_detections([{"rle": [0, 268435456, 0, 0, 16383, 16383]}])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("box", [(-3, -2, 70, 50), (0, 0, 255, 255)])
def test_a_mask_may_reach_beyond_a_scaled_image(box: tuple[int, int, int, int]) -> None:
    """It is cut with a note afterwards."""
    left, top, right, bottom = box
    area = (right - left + 1) * (bottom - top + 1)
    resized = ResizedImage(data=b"", scale_x=0.5, scale_y=0.5, size=(64, 48))
    (item,) = resized.restore_detections([{"rle": [0, area, *box]}])
    assert item["rle"] == [0, 4 * area, 2 * left, 2 * top, 2 * right + 1, 2 * bottom + 1]


def test_deeply_nested_elements_are_no_matter() -> None:
    nested: dict[str, Any] = {"points": [1, 2]}
    for _ in range(5000):
        nested = {"elements": [nested]}
    (item,) = HALF.restore_detections([nested])
    assert item["elements"][0]["elements"] is nested["elements"][0]["elements"]


def test_an_answer_to_an_image_that_was_not_scaled_is_left_alone() -> None:
    answer = [{"points": [1, 2]}]
    assert ResizedImage(data=b"").restore_detections(answer) is answer
