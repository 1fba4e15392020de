"""Regions of a frame, and their cropped images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvat_lambda.errors import FrameUnreadable, InvalidRequest
from cvat_lambda.images.decode import image_size
from cvat_lambda.images.region import Region, crop

ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    """Return an image in which the red value of a pixel is its x, and the green value its y."""
    image = Image.new("RGB", (width, height))
    image.putdata([(x, y, 0) for y in range(height) for x in range(width)])
    return image


def cropped(data: bytes, box: tuple[int, ...], **options: Any) -> Image.Image:
    """Return the decoded crop of an image."""
    given = {"mime": "image/png", "jpeg_quality": 90, **options}
    return Image.open(io.BytesIO(crop(data, Region.parse(box), **given)))


@pytest.mark.parametrize("values", [(5, 0, 5, 10), (6, 0, 5, 10), (0, 9, 4, 9)])
def test_region_without_pixels_is_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        Region.parse(values)


def test_region_beyond_the_frame_is_clipped() -> None:
    assert Region.parse((30, 20, 100, 100)).clip(40, 25).box == (30, 20, 40, 25)


def test_region_outside_the_frame_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="outside the image of 40 x 30"):
        Region.parse((40, 0, 50, 10)).clip(40, 30)


def test_region_is_placed_at_its_upper_left_corner() -> None:
    placement = Region.parse((7, 3, 12, 9)).placement
    assert (placement.offset, placement.size, placement.scale) == ((7, 3), (5, 6), (1.0, 1.0))


def test_crop_holds_exactly_the_pixels_of_the_region() -> None:
    image = cropped(encode(gradient(), "PNG"), (7, 3, 12, 9))
    assert (image.format, image.size) == ("PNG", (5, 6))
    assert image.getpixel((0, 0)) == (7, 3, 0)
    assert image.getpixel((4, 5)) == (11, 8, 0)


@pytest.mark.parametrize(
    ("mime", "accepts", "expected"),
    [
        ("image/jpeg", (), "JPEG"),
        ("image/png", ("image/jpeg",), "JPEG"),
        ("image/jpeg", ("image/png",), "PNG"),
        ("image/png", ("image/jpeg", "image/png"), "PNG"),
        ("image/png", ("image/webp",), "PNG"),  # `crop` does not write WebP, only `resize` does
        ("image/bmp", (), "PNG"),
        ("image/bmp", ("image/jpeg", "image/png"), "PNG"),
        ("image/bmp", ("image/jpeg", "image/png", "image/bmp"), "BMP"),
    ],
)
def test_crop_has_a_type_that_the_function_accepts(
    mime: str, accepts: tuple[str, ...], expected: str
) -> None:
    kind = mime.removeprefix("image/").upper()
    image = cropped(encode(gradient(), kind), (0, 0, 9, 9), mime=mime, accepts=accepts)
    assert image.format == expected


# Without YCbCr: Pillow 12 cannot read the TIFF that it writes in this mode.
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F", "I", "I;16"])
def test_crop_of_every_pixel_mode_is_readable(mode: str) -> None:
    grey = mode in ("F", "I", "I;16")
    source = gradient().convert("L" if grey else mode)
    if mode == "I;16":
        source = source.convert("I")
    image = cropped(encode(source.convert(mode), "TIFF"), (2, 2, 8, 8), mime="image/tiff")
    assert image.size == (6, 6)


def test_crop_of_32_bit_integers_is_stretched_by_the_values_of_the_whole_image() -> None:
    """Pillow 13 cannot write mode I as PNG, so that such a call ended with a server error."""
    pixels = np.zeros((20, 20), dtype=np.int32)
    pixels[:10] = 1000  # the crop sees 1000 and 500 of 0 to 2000
    pixels[10:] = 500
    pixels[19, 19] = 2000
    pixels[19, 0] = 0
    image = cropped(encode(Image.fromarray(pixels), "TIFF"), (5, 5, 15, 15), mime="image/tiff")
    assert image.mode == "L"
    assert [image.getpixel((0, y)) for y in (0, 9)] == [127, 63]


def test_crop_follows_the_exif_orientation() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # rotate clockwise: the upright image is 30 x 40
    sideways = encode(gradient(), "PNG", exif=exif)
    assert image_size(sideways) == (30, 40)
    image = cropped(sideways, (0, 0, 10, 20))
    assert image.size == (10, 20)
    assert image.getpixel((0, 0)) == (0, 29, 0)  # the lower left corner is at the top


@pytest.mark.parametrize("data", [b"", b"not an image", encode(gradient(), "PNG")[:60]])
def test_crop_of_an_unreadable_image_raises_frame_unreadable(data: bytes) -> None:
    with pytest.raises(FrameUnreadable, match="cannot be read"):
        cropped(data, (0, 0, 2, 2))
