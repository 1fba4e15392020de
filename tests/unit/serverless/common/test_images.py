from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from common.errors import BadInput
from common.images import crop, decode_image, encode_png, grey, resize
from PIL import Image


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),  # transparency does not blacken a picture
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8080, (128, 128, 128)),  # Pillow alone would answer white
    ],
)
def test_every_mode_becomes_rgb(
    mode: str, colour: int | tuple[int, ...], expected: tuple[int, ...]
) -> None:
    image = decode_image(encoded(Image.new(mode, (3, 2), colour)))
    assert image.shape == (2, 3, 3)
    assert image.dtype == np.uint8
    assert (image == np.array(expected)).all()


def test_the_exif_orientation_is_applied() -> None:
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    image = decode_image(encoded(picture, exif=exif))
    assert image.shape == (4, 2, 3)
    assert tuple(image[0, 1]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (None, "'image' is missing"),
        ("", "'image' is missing"),
        (7, "'image' is missing"),
        ("äöü", "'image' is not base64"),
        ("AAAA", "'image' cannot be decoded"),
        (base64.b64encode(b"not a picture").decode(), "'image' cannot be decoded"),
    ],
)
def test_what_is_no_picture_is_the_callers_mistake(sent: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        decode_image(sent)


def test_a_picture_cut_short_is_the_callers_mistake() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    whole = encode_png(noise)
    with pytest.raises(BadInput, match="cannot be decoded"):
        decode_image(whole[: len(whole) // 8 * 4])


def test_a_picture_over_the_limit_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CVAT_LAMBDA_MAX_PIXELS", "99")
    with pytest.raises(BadInput, match="10x10 pixels, more than the limit of 99"):
        decode_image(encoded(Image.new("RGB", (10, 10))))
    assert decode_image(encoded(Image.new("RGB", (9, 11)))).shape == (11, 9, 3)


def test_png_round_trip_is_exact() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    assert (decode_image(encode_png(noise)) == noise).all()


def test_resize_gives_the_size_and_keeps_a_flat_colour() -> None:
    image = np.full((10, 20, 3), 90, dtype=np.uint8)
    assert (resize(image, width=7, height=13) == np.full((13, 7, 3), 90)).all()


def test_crop_fills_what_lies_outside() -> None:
    image = np.full((4, 4, 3), 200, dtype=np.uint8)
    cut = crop(image, (-2, -2, 2, 2), width=4, height=4, fill=(1, 2, 3))
    assert (cut[:2] == [1, 2, 3]).all()
    assert (cut[2:, 2:] == 200).all()


def test_crop_of_whole_pixels_is_exact() -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    assert (crop(image, (2, 3, 7, 8), width=5, height=5) == image[3:8, 2:7]).all()


def test_grey_is_the_luma() -> None:
    assert grey(np.full((1, 1, 3), (255, 0, 0), dtype=np.uint8))[0, 0] == 76
