"""The check of a re-identification function's answer."""

from __future__ import annotations

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.reading import read_list, show
from cvat_lambda.annotations.shapes import is_number


def check_reid_answer(answer: object, n0: int, n1: int) -> list[int]:
    """Check a matching: for each of ``n0`` boxes an index into the ``n1`` others, or -1.

    Raise AnswerError; no box of the second frame may be taken twice.
    """
    indices = read_list(answer)
    if len(indices) != n0:
        raise AnswerError(f"{n0} indices were expected, one a box, but {len(indices)} came")
    taken: dict[int, int] = {}
    checked = []
    for item, value in enumerate(indices):
        if not is_number(value) or value != int(value) or not -1 <= value < n1:
            raise AnswerError(f"expected -1 or an index below {n1}, not {show(value)}", item=item)
        index = int(value)
        if index >= 0 and taken.setdefault(index, item) != item:
            raise AnswerError(
                f"the box {index} is already matched with item {taken[index]}", item=item
            )
        checked.append(index)
    return checked
