"""Masks that are passed on as text: equal to the parsed rows, or left to the JSON parser."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations import mask_text, rle
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.interactor_answer import check_interactor_answer
from cvat_lambda.annotations.mask_text import MaskText
from cvat_lambda.annotations.placement import Placement

SEPARATORS = [(", ", ": "), (",", ":"), (", ", " : ")]


def as_numbers(value: Any) -> Any:
    """Return a parsed answer with the mask's text converted to numbers."""
    if isinstance(value, dict) and isinstance(value.get("mask"), MaskText):
        return {**value, "mask": value["mask"].tolist()}
    return value


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 255]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from(SEPARATORS),
    st.booleans(),
)
def test_mask_in_a_common_form_is_read_as_text(
    width: int,
    height: int,
    one: int,
    share: float,
    separators: tuple[str, str] | None,
    mask_first: bool,
) -> None:
    bitmap = np.random.default_rng(width * 10 + height).random((height, width)) < share
    rows = (bitmap * one).astype(int).tolist()
    others = {"points": [[1, 2], [3, 4], [5, 6]], "bounds": [1, 2, 3, 4], "blob": "]]"}
    answer = {"mask": rows, **others} if mask_first else {**others, "mask": rows}
    found = mask_text.parse(json.dumps(answer, separators=separators).encode())
    mask = found["mask"]
    assert isinstance(mask, MaskText)
    assert (mask.size, mask.is_empty) == ((width, height), not bitmap.any())
    assert as_numbers(found) == answer
    rest = {name: value for name, value in found.items() if name != "mask"}
    for others_text in (json.dumps(rest), json.dumps(rest, indent=4), "{}", "{ }"):
        spliced = json.loads(mask_text.splice(mask, others_text.encode()))
        assert spliced == {"mask": rows, **json.loads(others_text)}


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([0.0, 0.001, 0.02, 0.5, 0.98, 1.0]),
    st.integers(0, 1000),
)
def test_text_of_run_lengths_is_that_of_their_bitmap(
    width: int, height: int, share: float, seed: int
) -> None:
    bitmap = np.random.default_rng(seed).random((height, width)) < share
    *runs, _, _, right, bottom = encoded = rle.encode(bitmap, 3, 2)
    assert mask_text.of_runs(runs, width, height) == mask_text.of_bitmap(bitmap)
    answer = check_interactor_answer({"rle": list(encoded)}, image_size=(100, 100))
    assert answer["bounds"] == [3, 2, right, bottom]
    assert answer["mask"] == mask_text.of_bitmap(bitmap)


def test_text_of_run_lengths_with_runs_of_zero_is_that_of_their_bitmap() -> None:
    runs = [2, 0, 1, 3, 0, 0, 0, 1, 5]  # functions may write runs of zero
    bitmap = rle.to_rows(runs, 3)
    assert mask_text.of_runs(runs, 3, 4) == mask_text.of_bitmap(bitmap)


@pytest.mark.parametrize("width", [1, 4000], ids=["narrow", "wide"])
def test_mask_of_run_lengths_beyond_the_image_is_refused_before_its_rows_are_written(
    width: int,
) -> None:
    pixels = 4 * 4000 * 3000  # as many as a box may have on this image
    box = [0, 0, width - 1, pixels // width - 1]
    tracemalloc.start()
    with pytest.raises(AnswerError, match="reaches beyond the image of 4000 x 3000"):
        check_interactor_answer({"rle": [0, pixels, *box]}, image_size=(4000, 3000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[[]]",
        "[[],[]]",
        "[[0,1],[1]]",
        "[[0],[1,1]]",
        "[[0,1],[1,2]]",
        "[[0,255],[1,0]]",
        "[[0,25],[255,0]]",
        "[[0,2555],[0,0]]",
        "[[0,5],[2,0]]",
        "[[0,0.0],[0,0]]",
        "[[0,true],[0,0]]",
        "[[0,-1],[0,0]]",
        "[[0,null]]",
        '[["0","1"]]',
        "[[[0]]]",
        "[[0,1],\n[1,0]]",
        "[[0,1], 5]",
        "[[0,1],[1,0],[1,0]",
        "[[0,1][1,0]]",
        "[[0 1]]",
        "[[0, 1 0,1]]",
        "[[00]]",
        "[[0255]]",
        "[[0,,1]]",
        "[[,01]]",
        "[[0,1]],[[1,0]]",
        "[[0,1]]]]",
        "[[1e0]]",
    ],
)
def test_mask_of_another_form_is_read_by_the_json_parser(text: str) -> None:
    body = f'{{"mask": {text}}}'.encode()
    try:
        expected = json.loads(body)
    except ValueError:
        with pytest.raises(json.JSONDecodeError):
            mask_text.parse(body)
    else:
        assert mask_text.parse(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"[[0,1],[1,0]]",
        b'{"inner": {"mask": [[0,1],[1,0]]}}',
        b'[{"mask": [[0,1],[1,0]]}]',
        b'{"mask": [[0,1]], "mask": [[1,0]]}',
        b'{"mask": [[0,1]], "m\\u0061sk": 5}',
        b'{"m\\u0061sk": 5, "mask": [[0,1]]}',
        b'{"a": "mask", "b": [[0,1]]}',
        b'{"a": "\\"mask\\": [[0,1]]"}',
        b'{"a": "the mask", "mask": [[0,1]]}',
        b'{"mask": "the mask"}',
        b'\xef\xbb\xbf{"mask": [[0,1]]}',
        '{"mask": [[0,1]]}'.encode("utf-16"),
    ],
)
def test_mask_inside_another_member_is_not_read_as_text(body: bytes) -> None:
    assert as_numbers(mask_text.parse(body)) == json.loads(body)


def test_answer_around_a_mask_text_must_be_strict_json() -> None:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    with pytest.raises(ValueError, match="NaN is not JSON"):
        mask_text.parse(b'{"mask": [[0,1]], "points": NaN}', parse_constant=refuse)


ROWS = st.text(alphabet="0125[], ", max_size=24)


@given(ROWS)
def test_any_text_is_read_as_equal_rows_or_left_to_the_json_parser(text: str) -> None:
    found = mask_text.read(text.encode())
    if found is not None:
        rows = json.loads(text)
        assert found.tolist() == rows
        assert found.size == (len(rows[0]), len(rows))
        assert {len(row) for row in rows} == {found.width}
        values = {value for row in rows for value in row}
        assert values in ({0}, {0, 1}, {1}, {0, 255}, {255})
        assert found.is_empty is (values == {0})


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([1, 255]),
    st.sampled_from([(0, 0), (3, 2)]),
    st.sampled_from([None, [0, 0, 2, 2], [1, 1, 2, 3], [9, 9, 11, 11]]),
)
def test_mask_text_is_checked_like_its_rows(
    width: int, height: int, one: int, offset: tuple[int, int], bounds: object
) -> None:
    rows = [[one * ((x + y) % 2) for x in range(width)] for y in range(height)]
    body = json.dumps({"mask": rows, **({} if bounds is None else {"bounds": bounds})}).encode()
    outcomes = []
    for answer in (json.loads(body), mask_text.parse(body)):
        try:
            checked = check_interactor_answer(
                answer, image_size=(6, 5), placement=Placement(offset=offset)
            )
            outcomes.append(as_numbers(checked))
        except ValueError as exc:
            outcomes.append(str(exc))
    assert outcomes[0] == outcomes[1]
