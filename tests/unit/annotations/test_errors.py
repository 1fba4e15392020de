"""The messages of annotation errors."""

from __future__ import annotations

import pytest

from cvat_lambda.annotations import errors


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.AnswerError("is wrong"), "is wrong"),
        (errors.AnswerError("is wrong", item=0), "item 0: is wrong"),
        (errors.AnswerError("is wrong", field="mask"), "field 'mask': is wrong"),
        (
            errors.AnswerError("is wrong", item=3, field="points"),
            "item 3, field 'points': is wrong",
        ),
        (errors.DataError("is wrong", path="shapes[3].points"), "shapes[3].points: is wrong"),
        (errors.DataError("is wrong", path=""), "is wrong"),
        (errors.MappingError("is wrong"), "is wrong"),
    ],
)
def test_message_of_an_error_names_its_place(error: errors.AnnotationError, message: str) -> None:
    assert error.message == message
    assert str(error) == message
    assert isinstance(error, ValueError)


def test_every_error_of_the_module_is_an_annotation_error() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    assert len(classes) == 6
    assert all(issubclass(each, errors.AnnotationError) for each in classes)
