"""The image that a call sends to the function."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from cvat_lambda.annotations.placement import WHOLE_FRAME
from cvat_lambda.engine.port import Frame
from cvat_lambda.errors import FrameUnreadable
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.images.region import Region
from cvat_lambda.interactive.image import View, image_size

SPEC = FunctionSpec(id="f", kind=Kind.DETECTOR, name="F", max_image_side=10)


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def frame(data: bytes) -> Frame:
    return Frame(number=3, data=data, mime="image/png", name="a.png")


def test_view_without_a_region_sends_the_frame_unchanged() -> None:
    data = png(40, 30)
    sent = View.of((40, 30), None).encode(frame(data), SPEC)
    assert sent.data is data
    assert sent.placement == WHOLE_FRAME


def test_view_of_a_downscaled_region_has_its_offset_and_scale() -> None:
    view = View.of((40, 30), Region.parse((10, 5, 50, 25)))
    sent = view.encode(frame(png(40, 30)), SPEC, keep_size=False)
    assert Image.open(io.BytesIO(sent.data)).size == (10, 7)
    assert sent.placement.offset == (10, 5)
    assert sent.placement.scale == (10 / 30, 7 / 20)
    assert sent.placement.size == (10, 7)


def test_image_size_that_the_engine_knows_is_returned_without_decoding() -> None:
    known = Frame(number=0, data=b"not an image", mime="image/png", width=7, height=5)
    assert image_size(known) == (7, 5)


@pytest.mark.parametrize("data", [b"", b"not an image", png(40, 30)[:60]])
def test_view_of_an_unreadable_frame_names_the_frame(data: bytes) -> None:
    view = View.of((40, 30), Region.parse((0, 0, 2, 2)))
    with pytest.raises(FrameUnreadable, match="frame 3 cannot be read"):
        view.encode(frame(data), SPEC)
