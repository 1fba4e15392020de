from __future__ import annotations

import base64
import importlib.util
import io
import struct
import sys
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from common import images
from common.errors import BadInput
from common.images import crop, decode_image, encode_png, grey, mean_colour, resize
from PIL import Image, ImageOps


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def pixels_of_pillow(sent: str) -> np.ndarray:
    """Return the RGB pixels of an image file that Pillow decodes."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(sent))).convert("RGB"))


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
    exif[0x0112] = 6  # orientation 6: the first row is the right side
    image = decode_image(encoded(picture, exif=exif))
    assert image.shape == (4, 2, 3)
    assert tuple(image[0, 1]) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "orientation", range(1, 10)
)  # 9 is not an orientation: the picture is not rotated
def test_an_image_is_rotated_as_pillow_rotates_it(kind: str, orientation: int) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (9, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    sent = encoded(Image.fromarray(noise), kind, exif=exif)
    with Image.open(io.BytesIO(base64.b64decode(sent))) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    assert (decode_image(sent) == expected).all()


NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 255, (37, 53, 3), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{"quality": 90}, {"quality": 30, "subsampling": 0}, {"progressive": True, "subsampling": 1}],
)
def test_jpeg_has_the_pixels_that_pillow_decodes(mode: str, options: dict[str, Any]) -> None:
    sent = encoded(NOISE.convert(mode), "JPEG", **options)
    assert (decode_image(sent) == pixels_of_pillow(sent)).all()


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"compress_level": 0}),
        ("RGB", {"transparency": (1, 2, 3)}),
        ("RGBA", {}),
        ("L", {}),
        ("L", {"transparency": 4}),
        ("LA", {}),
        ("P", {}),
        ("1", {}),
    ],
)
def test_png_has_the_pixels_that_pillow_decodes(mode: str, options: dict[str, Any]) -> None:
    sent = encoded(NOISE.convert(mode), **options)
    assert (decode_image(sent) == pixels_of_pillow(sent)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_bmp_has_the_pixels_that_pillow_decodes(mode: str) -> None:
    sent = encoded(NOISE.convert(mode), "BMP")
    assert (decode_image(sent) == pixels_of_pillow(sent)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_image_without_its_last_rows_is_bad_input(kind: str) -> None:
    whole = base64.b64decode(encoded(NOISE, kind))
    with pytest.raises(BadInput, match="cannot be decoded"):
        decode_image(base64.b64encode(whole[: len(whole) * 3 // 4]).decode())


@pytest.mark.parametrize("marker", [b"\xff\x02", b"\xff\x80"])  # one bit of 0xFF00 is wrong
def test_jpeg_with_an_unknown_marker_in_its_pixels_is_bad_input(marker: bytes) -> None:
    """OpenCV paints the rest grey: a function would find nothing there."""
    whole = base64.b64decode(encoded(NOISE, "JPEG", quality=95))
    place = whole.index(b"\xff\x00", len(whole) // 2)
    with pytest.raises(BadInput, match="cannot be decoded"):
        decode_image(base64.b64encode(whole[:place] + marker + whole[place + 2 :]).decode())


def test_jpeg_with_more_data_behind_its_end_is_decoded() -> None:
    """Phones append data of their own."""
    sent = encoded(NOISE, "JPEG")
    longer = base64.b64encode(base64.b64decode(sent) + b"\xff\x00more").decode()
    assert (decode_image(longer) == pixels_of_pillow(sent)).all()


def test_first_image_of_an_animated_png_is_decoded() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    sent = encoded(frames[0], save_all=True, append_images=frames[1:])
    assert (decode_image(sent) == [255, 0, 0]).all()


def test_png_without_its_last_chunk_is_decoded() -> None:
    """OpenCV refuses such a file, Pillow reads it."""
    whole = base64.b64decode(encoded(NOISE))
    image = decode_image(base64.b64encode(whole[:-12]).decode())
    assert (image == np.asarray(NOISE)).all()


ORIENTATION_IN_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
    '"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def orientation_chunks() -> dict[str, bytes]:
    """Return the chunks that hold orientation 6 of a PNG file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    notes = exif.tobytes()
    profile = f"\nexif\n{len(notes):8d}\n{notes.hex()}\n".encode()
    return {
        "eXIf": png_chunk(b"eXIf", notes.removeprefix(b"Exif\0\0")),
        "text": png_chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        "compressed text": png_chunk(
            b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)
        ),
        "text exif": png_chunk(b"tEXt", b"exif\0" + notes),
        "XMP": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ORIENTATION_IN_XMP.encode()),
        "text XMP": png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + ORIENTATION_IN_XMP.encode()),
        "compressed text XMP": png_chunk(
            b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(ORIENTATION_IN_XMP.encode())
        ),
    }


@pytest.mark.parametrize("place", [33, -12])  # after the header, before the last chunk
@pytest.mark.parametrize("kind", orientation_chunks())
def test_png_is_rotated_wherever_its_orientation_stands(kind: str, place: int) -> None:
    whole = base64.b64decode(encoded(NOISE))
    turned = base64.b64encode(whole[:place] + orientation_chunks()[kind] + whole[place:]).decode()
    assert (decode_image(turned) == np.rot90(np.asarray(NOISE), -1)).all()


def test_jpeg_is_rotated_by_the_orientation_of_its_xmp_data() -> None:
    sent = encoded(NOISE, "JPEG", xmp=ORIENTATION_IN_XMP.encode())
    assert (decode_image(sent) == np.rot90(pixels_of_pillow(sent), -1)).all()


@pytest.mark.parametrize("is_installed", [False, True])
def test_images_are_decoded_without_opencv_and_with_an_old_one(
    monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    """The functions that need no OpenCV are deployed without it, those of others with any."""
    if is_installed:
        monkeypatch.delattr("cv2.IMREAD_COLOR_RGB")  # before version 4.11
    else:
        monkeypatch.setitem(sys.modules, "cv2", None)  # `import cv2` raises ImportError
    spec = importlib.util.spec_from_file_location("images_without_opencv", images.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.decode_image(encoded(NOISE)) == np.asarray(NOISE)).all()


def jpeg_with_notes(*entries: bytes) -> str:
    """Return a JPEG file, 4 x 2, whose EXIF holds the given entries of 12 bytes."""
    plain = base64.b64decode(encoded(Image.new("RGB", (4, 2), (9, 9, 9)), "JPEG"))
    notes = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4
    segment = b"Exif\0\0" + notes
    head = b"\xff\xe1" + struct.pack(">H", len(segment) + 2)
    return base64.b64encode(plain[:2] + head + segment + plain[2:]).decode()


@pytest.mark.parametrize("tag", [0x0100, 0x0102])  # width and bits, as text
def test_an_exif_tag_that_pillow_cannot_write_does_not_prevent_decoding(tag: int) -> None:
    turned = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    odd = struct.pack("<HHI4s", tag, 2, 4, b"xyz\0")
    assert decode_image(jpeg_with_notes(odd, turned)).shape == (4, 2, 3)


@pytest.mark.parametrize(
    "entries", [(b"short",), (struct.pack("<HHI4s", 0x0112, 2, 4, b"up\0\0"),)]
)
def test_unreadable_exif_data_leave_the_image_unrotated(entries: tuple[bytes, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of corrupt notes
        assert decode_image(jpeg_with_notes(*entries)).shape == (2, 4, 3)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "PCX"])
def test_unsupported_formats_are_not_opened(kind: str) -> None:
    """Pillow can read them. For EPS it starts Ghostscript, if that is installed."""
    with pytest.raises(BadInput, match="cannot be decoded; send a whole PNG, JPEG"):
        decode_image(encoded(Image.new("RGB", (16, 16)), kind))


def test_any_exception_for_a_damaged_file_becomes_bad_input() -> None:
    whole = base64.b64decode(encoded(Image.new("RGB", (16, 16), (1, 2, 3)), "TIFF"))
    offset = struct.pack("<HHI", 0x0111, 4, 1)  # where the pixels begin, a whole number
    assert whole.count(offset) == 1
    damaged = whole.replace(offset, struct.pack("<HHI", 0x0111, 11, 1))  # a fraction: TypeError
    with pytest.raises(BadInput, match="cannot be decoded"):
        decode_image(base64.b64encode(damaged).decode())


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
def test_data_that_is_not_an_image_is_bad_input(sent: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        decode_image(sent)


def test_a_truncated_image_is_bad_input() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    whole = encode_png(noise)
    with pytest.raises(BadInput, match="cannot be decoded"):
        decode_image(whole[: len(whole) // 8 * 4])


def test_an_image_over_the_limit_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CVAT_LAMBDA_MAX_PIXELS", "99")
    with pytest.raises(BadInput, match="10x10 pixels, more than the limit of 99"):
        decode_image(encoded(Image.new("RGB", (10, 10))))
    assert decode_image(encoded(Image.new("RGB", (9, 11)))).shape == (11, 9, 3)


def header_alone(width: int, height: int) -> str:
    """Return a PNG file that promises a size and has no pixels."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size) + png_chunk(b"IDAT", zlib.compress(b""))
    ).decode()


@pytest.mark.parametrize("side", [10_001, 20_000, 60_000])  # Pillow warns, refuses, refuses
def test_an_image_over_the_limit_is_refused_with_the_limit(side: int) -> None:
    with pytest.raises(BadInput, match=f"{side}x{side} pixels, more than the limit of 100000000"):
        decode_image(header_alone(side, side))


def test_the_limit_can_be_set_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_LAMBDA_MAX_PIXELS", "64")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(encoded(Image.new("RGB", (8, 8)))).shape == (8, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 10  # Pillow's limit must not be changed


def test_png_round_trip_is_exact() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    assert (decode_image(encode_png(noise)) == noise).all()


def test_resize_gives_the_size_and_keeps_a_flat_colour() -> None:
    image = np.full((10, 20, 3), 90, dtype=np.uint8)
    assert (resize(image, width=7, height=13) == np.full((13, 7, 3), 90)).all()


def test_crop_fills_the_part_outside_the_picture() -> None:
    image = np.full((4, 4, 3), 200, dtype=np.uint8)
    cut = crop(image, (-2, -2, 2, 2), width=4, height=4, fill=(1, 2, 3))
    assert (cut[:2] == [1, 2, 3]).all()
    assert (cut[2:, 2:] == 200).all()


def test_crop_of_whole_pixels_is_exact() -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    assert (crop(image, (2, 3, 7, 8), width=5, height=5) == image[3:8, 2:7]).all()


@pytest.mark.parametrize(
    "box",
    [
        (10.25, 20.5, 40.75, 33.0),  # enlarged
        (0.0, 0.0, 60.0, 45.0),  # the whole picture
        (-7.5, -3.25, 30.0, 20.0),  # beyond the corner at the top
        (41.6, 30.1, 90.0, 70.0),  # beyond the corner at the bottom
        (-500.0, 10.0, 700.0, 30.0),  # on both sides
        (70.0, 5.0, 90.0, 25.0),  # beside it
        (-40.0, -40.0, -1.0, -1.0),
        (60.0, 0.0, 80.0, 45.0),  # touching it
        (12.0, 12.0, 12.0, 40.0),  # without width
        # Whole pixels, smaller than the box: these take another way.
        (3.0, 4.0, 58.0, 44.0),
        (10.0, 8.0, 42.0, 32.0),  # on the image's own pixels in one direction
        (-7.0, -3.0, 40.0, 30.0),
        (30.0, 20.0, 75.0, 60.0),
        (-500.0, -300.0, 700.0, 500.0),
        (-5000.0, 10.0, 7000.0, 500.0),  # too many pixels to copy them
        (60.0, 0.0, 90.0, 45.0),
    ],
)
def test_crop_equals_that_of_the_padded_picture_at_any_position(
    box: tuple[float, float, float, float],
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (45, 60, 3), dtype=np.uint8)
    whole = Image.fromarray(image).transform(
        (16, 24), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR, fillcolor=(1, 2, 3)
    )
    cut = crop(image, box, width=16, height=24, fill=(1, 2, 3))
    assert np.abs(cut.astype(int) - np.asarray(whole)).max() <= 1  # of rounding


def test_memory_of_a_crop_depends_on_the_box_and_not_on_the_picture() -> None:
    # All pixels of this picture are the same three bytes. A copy would need terabytes.
    picture = np.broadcast_to(np.array([10, 20, 30], dtype=np.uint8), (1_000_000, 1_000_000, 3))
    cut = crop(picture, (500_000, 500_000, 500_100.5, 500_050), width=8, height=8)
    assert (cut == [10, 20, 30]).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (70, 50), (1, 5000), (5000, 1)])
def test_the_mean_colour_is_that_of_all_pixels(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert mean_colour(image) == tuple(int(value) for value in image.mean(axis=(0, 1)).round())


def test_grey_value_is_the_luma_of_the_colour() -> None:
    assert grey(np.full((1, 1, 3), (255, 0, 0), dtype=np.uint8))[0, 0] == 76
