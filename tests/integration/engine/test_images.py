"""Images that programs read differently, and decompression bombs."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.adapter import StandaloneEngine
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.errors import InvalidRequest
from tests.conftest import REPOSITORY

UPLOADS = REPOSITORY / "tests" / "data" / "uploads"
ORIENTATION = 0x0112


def shown(task: models.Task) -> Image.Image:
    """Return the only frame of a task as a function gets it."""
    frame = StandaloneEngine().frame(task.pk, 0)
    image = Image.open(io.BytesIO(frame.data))
    image.load()
    assert (frame.width, frame.height) == image.size
    assert frame.mime == Image.MIME[image.format or ""]
    return image


def test_tiff_with_an_exif_orientation_has_the_size_of_its_upright_image(alice: User) -> None:
    image = shown(create_task(alice, "tiff", [], [UPLOADS / "orientation-6.tif"]))
    assert image.size == (240, 320)
    assert image.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((".tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I")),
        (".tif", "F"),
        *((".png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((".jpg", mode) for mode in ("L", "RGB", "CMYK")),
        *((".webp", mode) for mode in ("RGB", "RGBA")),
    ],
)
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_image_with_an_exif_orientation_is_read_upright(
    alice: User, tmp_path: Path, suffix: str, mode: str, orientation: int
) -> None:
    """The upright image has a white mark in its top left corner."""
    upright = np.zeros((20, 40), dtype=np.uint8)
    upright[:10, :10] = 255
    turns = {3: 2, 6: 1, 8: 3}[orientation]  # quarter turns counter-clockwise
    image = Image.fromarray(np.rot90(upright, turns).copy())
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(tmp_path / f"turned{suffix}", exif=exif, quality=95)
    found = shown(create_task(alice, "turned", [], [tmp_path / f"turned{suffix}"]))
    assert found.size == (40, 20)
    pixels = np.asarray(found.convert("L"))
    assert pixels[2:8, 2:8].mean() > 200
    assert pixels[12:, 12:].mean() < 60


def test_image_of_twelve_bits_is_scaled_to_the_full_range_of_8_bits(alice: User) -> None:
    image = shown(create_task(alice, "grey", [], [UPLOADS / "twelve-bits.png"]))
    assert image.mode == "L"
    darkest, brightest = image.getextrema()
    assert darkest == 0
    assert brightest >= 254  # type: ignore[operator]


def test_float_image_is_scaled_from_its_darkest_to_its_brightest_pixel(
    alice: User, tmp_path: Path
) -> None:
    pixels = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    pixels[0, 0] = np.nan
    Image.fromarray(pixels).save(tmp_path / "float.tif")
    image = shown(create_task(alice, "float", [], [tmp_path / "float.tif"]))
    darkest, brightest = image.getextrema()
    assert darkest == 0
    assert brightest >= 254  # type: ignore[operator]


def test_jpeg_without_its_end_marker_is_accepted(alice: User) -> None:
    image = shown(create_task(alice, "jpeg", [], [UPLOADS / "no-end-marker.jpg"]))
    assert image.mode in ("L", "RGB")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [40, 400, 4000])
def test_a_jpeg_without_some_of_its_pixels_is_refused(
    alice: User, tmp_path: Path, progressive: bool, missing: int
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90, progressive=progressive)
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:-missing])
    with pytest.raises(InvalidRequest, match=r"cut\.jpg"):
        create_task(alice, "cut", [], [tmp_path / "cut.jpg"])


def png_of(width: int, height: int) -> bytes:
    """Return a black one-bit PNG without holding its pixels in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    packer = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", size + bytes([1, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_image_over_the_limit_of_pillow_and_below_the_setting_is_accepted(
    alice: User, tmp_path: Path
) -> None:
    (tmp_path / "large.png").write_bytes(png_of(20000, 16000))
    task = create_task(alice, "large", [], [tmp_path / "large.png"])
    frame = StandaloneEngine().frame(task.pk, 0)
    assert (frame.width, frame.height) == (20000, 16000)


def test_an_image_over_the_limit_is_refused_with_its_size_and_the_limit(
    settings: Settings, alice: User, tmp_path: Path
) -> None:
    settings.CVAT_LAMBDA_STANDALONE_MAX_IMAGE_PIXELS = 100
    Image.new("L", (20, 6)).save(tmp_path / "large.png")
    sentence = r"'large\.png' has 20 x 6 = 120 pixels; this server takes images of 100 pixels"
    with pytest.raises(InvalidRequest, match=sentence):
        create_task(alice, "large", [], [tmp_path / "large.png"])


def test_image_with_the_name_of_a_video_is_refused_before_it_is_decoded(
    alice: User, tmp_path: Path
) -> None:
    (tmp_path / "picture.mp4").write_bytes(png_of(13000, 13000))
    with pytest.raises(InvalidRequest, match="is a picture and not a video"):
        create_task(alice, "video", [], [tmp_path / "picture.mp4"])


def test_archive_over_the_limit_of_unpacked_size_is_refused(alice: User, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bmp", bytes(200 * 1024 * 1024))
    with pytest.raises(InvalidRequest, match=r"'bomb\.zip' would unpack to 209715200 bytes"):
        create_task(alice, "bomb", [], [tmp_path / "bomb.zip"])
