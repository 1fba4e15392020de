"""The pictures of docs/functions.md: every packaged function has one that a command draws."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from cvat_lambda.server.catalogue import packaged_function_ids
from cvat_lambda.web.overlay import Drawing
from tests.conftest import REPOSITORY
from tests.functions import pictures
from tests.functions.strips import GAP, MAX_HEIGHT, MAX_WIDTH, Panel, strip

# A heading with the function's id, followed by its picture.
SECTION = re.compile(r"^### .*`([^`]+)`\n\n!\[[^\]]+\]\(images/functions/([^)]+)\)$", re.MULTILINE)


def test_the_page_shows_the_picture_of_every_packaged_function() -> None:
    page = (REPOSITORY / "docs" / "functions.md").read_text(encoding="utf-8")
    shown = dict(SECTION.findall(page))
    assert shown == {name: file for name, (file, _) in pictures.PICTURES.items()}
    assert set(shown) == set(packaged_function_ids(REPOSITORY / "serverless"))


def test_every_picture_file_is_drawn_by_the_command() -> None:
    made = {file for file, _ in pictures.PICTURES.values()}
    assert {path.name for path in pictures.PLACE.iterdir()} == made


def test_unknown_function_is_named_in_the_error() -> None:
    with pytest.raises(SystemExit, match="yolo: no picture; known are openvino-ssdlite-person"):
        pictures.main(["yolo"])


def test_drawings_have_the_right_position_on_an_enlarged_part() -> None:
    mask = np.ones((10, 20), dtype=np.bool_)
    drawing = Drawing(
        color="#000000", caption="", x=60, y=20, mask=mask, lines=(((55, 10), (55, 40)),)
    )
    image = Image.new("RGB", (100, 100), "#808080")
    picture = strip([Panel(image=image, drawings=[drawing], part=(50, 0, 100, 50))])
    assert picture.size == (MAX_HEIGHT, MAX_HEIGHT)  # six times as large
    pixels = np.asarray(picture)
    assert (pixels[100:200, 30] == 0).all()  # the line
    assert (pixels[50] == 128).all()  # a row without line and mask
    tinted = (pixels[:, 50:] != 128).any(axis=2)
    assert tinted[120:180, 10:130].all()  # the mask
    assert tinted.sum() == 60 * 120
    assert (
        pixels[120, 120, 0] > 128 > pixels[150, 120, 0]
    )  # the mask has a white rim and is black inside


def test_strip_of_wide_frames_is_scaled_to_the_maximum_width() -> None:
    panels = [Panel(image=Image.new("RGB", (640, 480)), drawings=[]) for _ in range(3)]
    picture = strip(panels)
    assert picture.width <= MAX_WIDTH
    assert picture.height == pytest.approx((MAX_WIDTH - 2 * GAP) / 4, abs=1)
