"""Geometry of shapes: point counts, rotation, and clipping to the image."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cvat_lambda.annotations import contours, shapes
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.types import ShapeType

SIZE = (100, 50)
COORDINATES = st.floats(-150, 250, allow_subnormal=False)


@pytest.mark.parametrize(
    ("shape_type", "accepted", "refused"),
    [
        ("rectangle", [4], [0, 3, 5, 8]),
        ("ellipse", [4], [2, 6]),
        ("polygon", [6, 8, 100], [0, 4, 7]),
        ("polyline", [4, 6], [0, 2, 5]),
        ("points", [2, 4], [0, 1, 3]),
        ("cuboid", [16], [4, 15, 18]),
        ("skeleton", [0], [2]),
    ],
)
def test_number_of_points_is_checked_for_each_type(
    shape_type: str, accepted: list[int], refused: list[int]
) -> None:
    for count in accepted:
        assert len(shapes.check_points(shape_type, [1] * count)) == count
    for count in refused:
        with pytest.raises(ShapeError, match=f"a {shape_type} has"):
            shapes.check_points(shape_type, [1] * count)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "1", None, True, [1], {}, 10**400, 1e12]
)
def test_points_that_are_not_finite_numbers_are_refused(value: object) -> None:
    with pytest.raises(ShapeError, match="finite numbers"):
        shapes.check_points("rectangle", [1, 2, 3, value])


@pytest.mark.parametrize("points", [None, "1234", {"x": 1}, 5])
def test_points_must_be_an_array(points: object) -> None:
    with pytest.raises(ShapeError, match="array of numbers"):
        shapes.check_points("points", points)


@pytest.mark.parametrize(
    ("shape_type", "rotation", "degrees"),
    [
        ("rectangle", 30, 30.0),
        ("rectangle", 360, 0.0),
        ("ellipse", -90, 270.0),
        ("rectangle", 725.5, 5.5),
        ("rectangle", -1e-20, 0.0),
        ("rectangle", None, 0.0),
        ("polygon", 30, 0.0),
    ],
)
def test_rotation_is_reduced_modulo_360_degrees(
    shape_type: str, rotation: object, degrees: float
) -> None:
    assert shapes.check_rotation(shape_type, rotation) == degrees


@pytest.mark.parametrize("rotation", [math.nan, math.inf, "30", True])
def test_rotation_that_is_not_a_number_is_refused(rotation: object) -> None:
    with pytest.raises(ShapeError, match="rotation"):
        shapes.check_rotation("rectangle", rotation)


@pytest.mark.parametrize(
    ("shape_type", "points", "rotation", "fitted", "is_cut"),
    [
        ("rectangle", (10, 10, 20, 20), 0, (10, 10, 20, 20), False),
        ("rectangle", (20, 20, 10, 10), 0, (10, 10, 20, 20), False),  # corners in any order
        ("rectangle", (-5, 10, 20, 60), 0, (0, 10, 20, 50), True),
        ("rectangle", (-0.4, 0, 100.3, 50), 0, (0, 0, 100, 50), False),  # rounding
        ("rectangle", (120, 10, 130, 20), 0, None, True),
        ("rectangle", (10, 10, 10, 20), 0, None, True),  # no area
        ("rectangle", (-5, 10, 20, 20), 45, (-5, 10, 20, 20), True),  # rotated: not clipped
        ("rectangle", (40, 10, 60, 20), 45, (40, 10, 60, 20), False),
        ("rectangle", (200, 10, 220, 20), 45, None, True),
        ("ellipse", (50, 25, 60, 15), 0, (50, 25, 60, 15), False),
        ("ellipse", (50, 25, 60, -15), 0, (50, 25, 60, -15), True),
        ("ellipse", (50, 25, 40, 15), 0, None, True),  # a radius below zero
        ("ellipse", (-50, 25, -45, 15), 0, None, True),
        ("points", (10, 10, 150, 10, 20, 20), 0, (10, 10, 20, 20), True),
        ("points", (150, 10), 0, None, True),
        ("polyline", (-50, 25, 50, 25), 0, (0, 25, 50, 25), True),
        ("polyline", (10, 10, 20, 10, 20, 20), 0, (10, 10, 20, 10, 20, 20), False),
        ("polyline", (-10, -10, 10, -10), 0, None, True),
        # The line leaves the image and comes back. The longer piece is kept.
        ("polyline", (10, 25, 110, 25, 110, 40, 90, 40), 0, (10, 25, 100, 25), True),
        ("polygon", (10, 10, 20, 10, 20, 20), 0, (10, 10, 20, 10, 20, 20), False),
        ("polygon", (-10, -10, -20, -10, -20, -20), 0, None, True),
        ("polygon", (10, 10, 20, 10, 30, 10), 0, None, True),  # a line
        ("cuboid", (10, 10) * 8, 0, None, True),
        ("cuboid", (90, 10, 110, 20) * 4, 0, (90, 10, 110, 20) * 4, True),
        ("mask", (0, 4, 98, 0, 99, 1), 0, (0, 4, 98, 0, 99, 1), False),
        ("mask", (0, 4, 99, 0, 100, 1), 0, (0, 2, 99, 0, 99, 1), True),
        ("mask", (4, 0, 0, 1, 1), 0, None, True),  # empty
        ("mask", (0, 4, 100, 0, 101, 1), 0, None, True),
    ],
)
def test_shape_is_clipped_to_the_image(
    shape_type: str, points: tuple[float, ...], rotation: float, fitted: object, is_cut: bool
) -> None:
    assert shapes.fit(shape_type, points, float(rotation), SIZE) == (fitted, is_cut)


def test_polygon_is_clipped_along_the_border() -> None:
    fitted, is_cut = shapes.fit("polygon", (-10, 10, 10, 10, 10, 30, -10, 30), 0.0, SIZE)
    assert is_cut
    assert fitted is not None
    vertices = set(zip(fitted[0::2], fitted[1::2], strict=True))
    assert vertices == {(0, 10), (10, 10), (10, 30), (0, 30)}


@given(
    st.sampled_from(["rectangle", "polygon", "polyline", "points"]),
    st.lists(COORDINATES, min_size=6, max_size=20),
)
def test_clipped_shape_is_inside_the_image(shape_type: str, values: list[float]) -> None:
    count = 4 if shape_type == "rectangle" else len(values) // 2 * 2
    points = shapes.check_points(shape_type, values[:count])
    fitted, _ = shapes.fit(shape_type, points, 0.0, SIZE)
    if fitted is not None:
        assert shapes.check_points(shape_type, list(fitted)) == fitted
        assert all(0 <= x <= SIZE[0] for x in fitted[0::2])
        assert all(0 <= y <= SIZE[1] for y in fitted[1::2])
        again, is_cut = shapes.fit(shape_type, fitted, 0.0, SIZE)
        assert not is_cut
        assert again is not None


@given(st.lists(st.tuples(st.integers(-40, 140), st.integers(-40, 90)), min_size=3, max_size=3))
def test_clipped_triangle_has_the_area_of_its_part_inside(corners: list[tuple[int, int]]) -> None:
    points = tuple(float(value) for corner in corners for value in corner)
    moved = tuple(value + 40 for value in points)
    inside = contours.fill(moved, 190, 140)[40:90, 40:140].sum()
    fitted, _ = shapes.fit("polygon", points, 0.0, SIZE)
    assume(inside > 200)
    assert fitted is not None
    assert contours.fill(fitted, *SIZE).sum() == pytest.approx(inside, rel=0.05)


@given(
    st.sampled_from(["rectangle", "ellipse", "polygon", "polyline", "points", "cuboid", "mask"]),
    st.floats(0, 99),
    st.floats(0, 49),
)
def test_hidden_points_are_valid_points_of_their_type(
    shape_type: ShapeType, x: float, y: float
) -> None:
    points = shapes.hidden_points(shape_type, x, y)
    assert shapes.check_points(shape_type, list(points)) == points


@pytest.mark.parametrize(
    ("shape_type", "points", "center"),
    [
        ("rectangle", (0, 0, 10, 20), (5, 10)),
        ("ellipse", (5, 6, 20, 0), (5, 6)),
        ("points", (1, 2), (1, 2)),
        ("mask", (0, 4, 10, 20, 11, 21), (10.5, 20.5)),
    ],
)
def test_anchor_of_a_shape_is_its_centre(
    shape_type: str, points: tuple[float, ...], center: tuple[float, ...]
) -> None:
    assert shapes.anchor(shape_type, points) == center
