"""Regions of interest: what is sent, and where its results lie."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FrameUnreadable, InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.interactive.image import View
from cvat_lambda.interactive.roi import Roi, crop, image_size

ORIENTATION = 0x0112
SPEC = FunctionSpec(id="f", kind=Kind.DETECTOR, name="F")


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    """Every pixel tells where it is: red is x, green is y."""
    image = Image.new("RGB", (width, height))
    image.putdata([(x, y, 0) for y in range(height) for x in range(width)])
    return image


def frame(data: bytes, mime: str = "image/png") -> Frame:
    return Frame(number=3, data=data, mime=mime, name="a.png")


@pytest.mark.parametrize("values", [(5, 0, 5, 10), (6, 0, 5, 10), (0, 9, 4, 9)])
def test_an_empty_region_is_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        Roi.parse(values)


def test_a_region_is_clipped_to_the_image() -> None:
    roi = Roi.parse((30, 20, 100, 100)).within(40, 25)
    assert (roi.left, roi.top, roi.right, roi.bottom) == (30, 20, 40, 25)


def test_a_region_outside_the_image_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="outside the image of 40 x 30"):
        Roi.parse((40, 0, 50, 10)).within(40, 30)


def test_a_crop_is_exactly_the_region() -> None:
    cropped = crop(frame(encode(gradient(), "PNG")), Roi.parse((7, 3, 12, 9)))
    image = Image.open(io.BytesIO(cropped.data))
    assert (cropped.mime, cropped.width, cropped.height, image.size) == ("image/png", 5, 6, (5, 6))
    assert image.getpixel((0, 0)) == (7, 3, 0)
    assert image.getpixel((4, 5)) == (11, 8, 0)


def test_a_crop_of_a_jpeg_is_a_jpeg() -> None:
    cropped = crop(frame(encode(gradient(), "JPEG"), "image/jpeg"), Roi.parse((0, 0, 20, 20)))
    assert cropped.mime == "image/jpeg"
    assert Image.open(io.BytesIO(cropped.data)).format == "JPEG"


@pytest.mark.parametrize(
    ("mime", "accepts", "expected"),
    [
        ("image/png", ("image/jpeg",), "image/jpeg"),
        ("image/jpeg", ("image/png",), "image/png"),
        ("image/png", ("image/jpeg", "image/png"), "image/png"),
        ("image/png", ("image/webp",), "image/png"),  # cannot be had; PNG is as good as any
        ("image/bmp", (), "image/png"),
    ],
)
def test_a_crop_is_of_a_type_that_the_function_takes(
    mime: str, accepts: tuple[str, ...], expected: str
) -> None:
    kind = mime.removeprefix("image/").upper()
    cropped = crop(frame(encode(gradient(), kind), mime), Roi.parse((0, 0, 9, 9)), accepts=accepts)
    assert cropped.mime == expected


# Not YCbCr: Pillow 12 cannot read the TIFF that it writes of it.
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F"])
def test_a_crop_of_any_kind_of_pixels_can_be_sent(mode: str) -> None:
    data = encode(gradient().convert("L" if mode == "F" else mode).convert(mode), "TIFF")
    cropped = crop(frame(data, "image/tiff"), Roi.parse((2, 2, 8, 8)))
    assert Image.open(io.BytesIO(cropped.data)).size == (6, 6)


def test_a_region_is_of_the_image_as_people_see_it() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned clockwise: people see 30 x 40
    sideways = frame(encode(gradient(), "PNG", exif=exif))
    assert image_size(sideways) == (30, 40)
    image = Image.open(io.BytesIO(crop(sideways, Roi.parse((0, 0, 10, 20))).data))
    assert image.size == (10, 20)
    assert image.getpixel((0, 0)) == (0, 29, 0)  # the lower left corner came up


def test_the_size_that_the_engine_knows_is_taken_without_decoding() -> None:
    known = Frame(number=0, data=b"not an image", mime="image/png", width=7, height=5)
    assert image_size(known) == (7, 5)


@pytest.mark.parametrize("data", [b"", b"not an image", encode(gradient(), "PNG")[:60]])
def test_a_frame_that_does_not_decode_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(FrameUnreadable, match="frame 3 cannot be read"):
        crop(frame(data), Roi.parse((0, 0, 2, 2)))


@given(
    st.integers(0, 30),
    st.integers(0, 20),
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 30)), max_size=5),
)
def test_points_of_the_view_moved_by_its_offset_are_points_of_the_frame(
    left: int, top: int, points: list[tuple[float, float]]
) -> None:
    view = View.of((40, 30), Roi.parse((left, top, left + 9, top + 9)))
    dx, dy = view.offset
    moved = [[x + dx, y + dy] for x, y in view.into(points)]
    assert moved == [pytest.approx(list(point)) for point in points]


def test_without_a_region_the_frame_is_sent_as_it_is() -> None:
    data = encode(gradient(), "PNG")
    view = View.of((40, 30), None)
    assert view.data(frame(data), SPEC) is data
    assert (view.offset, view.roi_size, view.into([(1, 2)])) == ((0, 0), None, [[1, 2]])
