from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.types import Label, Shape
from cvat_lambda.server.drawing import paint
from cvat_lambda.web.overlay import COLORS, Drawing, draw, rgb, tint, to_svg

SIZE = (200, 160)
WHITE = (255, 255, 255)
SVG = '<line data-type="edge" data-node-from="1" data-node-to="2"></line>'
LABELS = [
    Label(id=1, name="person"),
    Label(
        id=2,
        name="body",
        type="skeleton",
        sublabels=(Label(id=3, name="head"), Label(id=4, name="foot"), Label(id=5, name="hand")),
        svg=SVG,
    ),
]


def shape(kind: Any, *points: float, **more: Any) -> Shape:
    return Shape(type=kind, frame=0, points=points, **{"label_id": 1, "score": 0.5, **more})


def painted(*shapes: Shape) -> np.ndarray[Any, Any]:
    return np.asarray(paint(Image.new("RGB", SIZE, WHITE), draw(shapes, LABELS, SIZE)))


@pytest.mark.parametrize(
    ("item", "at"),
    [
        (shape("rectangle", 20, 60, 120, 140), (20, 100)),
        (shape("rectangle", 120, 140, 20, 60), (20, 100)),  # corners in reverse order
        (
            shape("rectangle", 60, 90, 140, 110, rotation=90),
            (90, 100),
        ),  # 20 wide and 80 high after the rotation
        (shape("polygon", 20, 60, 120, 60, 120, 140), (70, 60)),
        (shape("polyline", 20, 60, 120, 60), (70, 60)),
        (shape("points", 70, 100), (70, 100)),
        (shape("ellipse", 100, 100, 150, 60), (50, 100)),
        (shape("ellipse", 100, 100, 150, 80, rotation=90), (80, 100)),
        (shape("cuboid", *range(20, 36)), (20, 21)),
    ],
)
def test_shape_is_drawn_at_its_coordinates(item: Shape, at: tuple[int, int]) -> None:
    assert tuple(painted(item)[at[1], at[0]]) == rgb(COLORS[0])


def test_drawing_without_a_caption_has_no_caption_box() -> None:
    [drawing] = draw([shape("points", 70, 100)], LABELS, SIZE)
    canvas = np.asarray(paint(Image.new("RGB", SIZE, WHITE), [replace(drawing, caption="")]))
    ys, xs = np.nonzero((canvas != WHITE).any(axis=2))
    assert abs(xs - 70).max() <= 3  # only the dot
    assert abs(ys - 100).max() <= 3


def test_polyline_is_drawn_without_a_closing_edge() -> None:
    pixels = painted(shape("polyline", 20, 60, 180, 60, 180, 140))
    assert tuple(pixels[100, 100]) == WHITE


def test_mask_tints_its_true_pixels_only() -> None:
    bitmap = np.zeros((40, 50), dtype=bool)
    bitmap[10:30, 10:40] = True
    pixels = painted(shape("mask", *rle.encode(bitmap, 60, 80)))
    assert tuple(pixels[80 + 20, 60 + 25]) != WHITE
    assert tuple(pixels[80 + 38, 60 + 48]) == WHITE


def test_mask_with_a_huge_box_is_drawn_inside_the_image_only() -> None:
    """A stored mask of few numbers can have 2^28 pixels. As a whole it would need gigabytes."""
    huge = shape("mask", 0, 1 << 28, -8192, -8192, 8191, 8191)
    beside = shape("mask", 0, 1 << 28, 500, 500, 500 + 16383, 500 + 16383)
    empty = shape("mask", 1 << 28, 0, 0, 16383, 16383)
    (drawing,) = draw([huge, beside, empty], LABELS, SIZE)
    assert drawing.mask is not None
    assert (drawing.x, drawing.y, drawing.mask.shape) == (0, 0, (SIZE[1], SIZE[0]))
    assert drawing.mask.all()


def test_svg_mask_has_the_pixels_of_the_painted_mask() -> None:
    bitmap = np.random.default_rng(1).random((13, 21)) < 0.5
    (drawing,) = draw([shape("mask", *rle.encode(bitmap, 3, 4))], LABELS, SIZE)
    assert drawing.svg_mask is not None
    assert drawing.mask is not None
    href = str(drawing.svg_mask["href"])
    assert href.startswith("data:image/png;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2])))
    shown = np.asarray(picture.convert("RGBA"))
    assert np.array_equal(shown[..., 3] > 0, drawing.mask)
    assert np.array_equal(
        shown[drawing.mask], np.asarray(tint(drawing.mask, drawing.color))[drawing.mask]
    )


def test_skeleton_is_drawn_with_its_visible_points_and_their_edges() -> None:
    elements = (
        shape("points", 20, 60, label_id=3),
        shape("points", 100, 140, label_id=4),
        shape("points", 150, 20, label_id=5, outside=True),
    )
    pixels = painted(shape("skeleton", label_id=2, elements=elements))
    assert tuple(pixels[140, 100]) == rgb(COLORS[1])
    assert tuple(pixels[100, 60]) == rgb(COLORS[1])  # the middle of the edge
    assert tuple(pixels[20, 150]) == WHITE


def test_painting_does_not_change_the_original_image() -> None:
    image = Image.new("RGB", SIZE, WHITE)
    paint(image, draw([shape("rectangle", 20, 60, 120, 140)], LABELS, SIZE))
    assert np.asarray(image).min() == 255


@pytest.mark.parametrize(
    ("own", "drawn"), [("#ff0000", "#ff0000"), ("", COLORS[0]), ("red", COLORS[0])]
)
def test_annotation_has_the_colour_of_its_label_if_there_is_one(own: str, drawn: str) -> None:
    (drawing,) = draw([shape("points", 70, 100)], [Label(id=1, name="person", color=own)], SIZE)
    assert drawing.color == drawn


def test_svg_has_an_element_for_each_line_dot_and_mask_and_escapes_captions() -> None:
    drawings = [
        Drawing(
            color="#ff0000",
            caption="<b> 0.50",
            x=1.0,
            y=2.0,
            lines=(((1.0, 2.0), (3.25, 4.0)),),
            dots=((5.0, 6.5),),
        ),
        Drawing(color="#00ff00", caption="car", x=7, y=8, mask=np.ones((2, 3), dtype=np.bool_)),
    ]
    first, second = ET.fromstring(f"<svg>{to_svg(drawings, dot=4)}</svg>")
    assert first.attrib == {"stroke": "#ff0000", "fill": "none"}
    title, line, dot = first
    assert title.text == "<b> 0.50"
    assert line.attrib["points"] == "1.0,2.0 3.2,4.0"
    assert dot.attrib == {"cx": "5.0", "cy": "6.5", "r": "4", "fill": "#ff0000", "stroke": "none"}
    _, image = second
    assert image.attrib["href"].startswith("data:image/png;base64,")
    placed = {name: image.attrib[name] for name in ("x", "y", "width", "height")}
    assert placed == {"x": "7", "y": "8", "width": "3", "height": "2"}
