"""Images are resized and encoded again only if a function declares it, or if they are deep."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvat_lambda.annotations.placement import Placement
from cvat_lambda.errors import FrameUnreadable
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.images.encode import to_8_bits
from cvat_lambda.images.resize import ResizedImage, resize


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
        {"max_body_bytes": 10},  # the function declares nothing
        {"max_image_side": 200},
        {"accepts": ("image/jpeg",)},
        {"accepts": ("image/png", "image/jpeg"), "max_image_side": 500},
    ],
)
def test_resize_of_an_image_that_fits_returns_the_same_bytes(declared: dict[str, Any]) -> None:
    data = image()
    assert resize(data, spec(**declared)) == ResizedImage(data=data)


def test_resize_without_a_declaration_returns_data_that_is_not_an_image() -> None:
    assert resize(b"no image", spec()).data == b"no image"


@pytest.mark.parametrize(
    ("kind", "accepts", "sent"),
    [
        ("JPEG", (), "JPEG"),
        ("PNG", (), "PNG"),  # the function does not declare that it accepts JPEG
        ("PNG", ("image/png", "image/jpeg"), "PNG"),
        ("PNG", ("image/jpeg",), "JPEG"),
        ("TIFF", ("image/png",), "PNG"),
        ("TIFF", (), "PNG"),
    ],
)
def test_resize_keeps_the_image_type_if_the_function_accepts_it(
    kind: str, accepts: tuple[str, ...], sent: str
) -> None:
    resized = resize(image(kind), spec(accepts=accepts, max_image_side=50))
    assert (opened(resized.data).format, opened(resized.data).size) == (sent, (50, 25))
    assert resized.placement == Placement(scale=(0.25, 0.25), size=(50, 25))


def test_resize_of_a_type_that_is_not_accepted_changes_the_type_only() -> None:
    resized = resize(image("PNG"), spec(accepts=("image/jpeg",)))
    assert (opened(resized.data).format, opened(resized.data).size) == ("JPEG", (200, 100))
    assert resized.placement == Placement()


def test_image_too_large_for_a_body_becomes_a_jpeg_if_accepted() -> None:
    data = image("PNG", (400, 400))
    resized = resize(data, spec(accepts=("image/png", "image/jpeg"), max_body_bytes=300_000))
    assert opened(resized.data).format == "JPEG"
    assert len(resized.data) * 4 / 3 < 300_000 < len(data) * 4 / 3


def test_two_images_of_a_reid_function_fit_into_one_body() -> None:
    data = image("PNG", (400, 400))
    declared: dict[str, Any] = {"accepts": ("image/png", "image/jpeg"), "max_body_bytes": 1_000_000}
    reid = FunctionSpec(id="fn", kind=Kind.REID, name="Fn", **declared)
    assert opened(resize(data, spec(**declared)).data).format == "PNG"
    resized = resize(data, reid)
    assert opened(resized.data).format == "JPEG"
    assert 2 * len(resized.data) * 4 / 3 < 1_000_000 < 2 * len(data) * 4 / 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_resize_encodes_every_mode_as_jpeg(mode: str) -> None:
    buffer = io.BytesIO()
    source = Image.new("RGB", (200, 100), "white").convert(mode)
    source.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    sent = opened(resize(buffer.getvalue(), spec(accepts=("image/jpeg",))).data)
    assert sent.convert("L").getpixel((50, 50)) == pytest.approx(255, abs=4)


def deep(dtype: str, low: float, high: float, kind: str) -> bytes:
    """Write a grey ramp from the lowest value on the left to the highest one on the right."""
    buffer = io.BytesIO()
    ramp = np.tile(np.linspace(low, high, 256), (64, 1)).astype(dtype)
    Image.fromarray(ramp).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("dtype", "low", "high", "kind"),
    [
        ("uint16", 0, 65535, "PNG"),
        ("uint16", 0, 4080, "PNG"),  # twelve bits, as microscopes and thermal cameras write them
        ("uint16", 30_000, 31_000, "TIFF"),
        ("int32", -5, 100_000, "TIFF"),
        ("float32", 0.0, 1.0, "TIFF"),
    ],
)
@pytest.mark.parametrize(
    "declared", [{}, {"accepts": ("image/png", "image/tiff")}, {"max_image_side": 256}]
)
def test_resize_of_a_deep_image_has_the_brightness_of_the_page(
    dtype: str, low: float, high: float, kind: str, declared: dict[str, Any]
) -> None:
    sent = opened(resize(deep(dtype, low, high, kind), spec(**declared)).data)
    assert sent.mode == "L"
    assert [sent.getpixel((x, 30)) for x in (0, 128, 255)] == pytest.approx([0, 128, 255], abs=1)


def test_resize_of_a_deep_image_with_missing_pixels_shows_them_black() -> None:
    buffer = io.BytesIO()
    pixels = np.array([[np.nan, 1.0, 2.0, np.inf]], dtype=np.float32)
    Image.fromarray(pixels).save(buffer, "TIFF")
    sent = opened(resize(buffer.getvalue(), spec()).data)
    assert [sent.getpixel((x, 0)) for x in range(4)] == [0, 0, 255, 0]


def test_resize_keeps_the_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100)).save(buffer, "JPEG", exif=exif)
    sent = opened(resize(buffer.getvalue(), spec(max_image_side=50)).data)
    assert sent.getexif()[0x0112] == 6


@pytest.mark.parametrize("data", [b"no image", image()[:300]])
def test_resize_of_an_unreadable_image_raises_frame_unreadable(data: bytes) -> None:
    with pytest.raises(FrameUnreadable, match="function 'fn'"):
        resize(data, spec(max_image_side=50))


def test_resize_of_a_large_deep_image_takes_a_few_bytes_per_pixel() -> None:
    data = deep("uint16", 0, 4080, "PNG")
    with Image.open(io.BytesIO(data)) as small:
        large = small.resize((2560, 1280), Image.Resampling.NEAREST)
    tracemalloc.start()
    shown = to_8_bits(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (shown.getpixel((0, 0)), shown.getpixel((2559, 1279))) == (0, 255)
    assert peak < 9 * 2560 * 1280
