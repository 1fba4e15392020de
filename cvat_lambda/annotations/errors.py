"""The errors of labels, shapes and answers.

::

    AnnotationError (ValueError)
    ├── MappingError   the caller's mapping does not fit the function or the task
    ├── SpecError      the function's own labels (its ``spec`` annotation) are wrong
    ├── ShapeError     a shape is malformed; callers add where it was found
    ├── AnswerError    the function's answer breaks the contract
    └── DataError      annotations sent by a client are malformed; ``path`` says where

The message names the object and, if there is one, the remedy.
"""

from __future__ import annotations


class AnnotationError(ValueError):
    """Something in labels or annotations is wrong; ``message`` is a sentence for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class MappingError(AnnotationError):
    """A mapping names an unknown label or joins labels that do not fit."""


class SpecError(AnnotationError):
    """The labels in a function's metadata are wrong."""


class ShapeError(AnnotationError):
    """Points, run lengths or a rotation do not describe a shape."""


class AnswerError(AnnotationError):
    """A function's answer breaks the contract at ``item`` (None: the whole answer), ``field``."""

    def __init__(self, message: str, *, item: int | None = None, field: str = "") -> None:
        where = [f"item {item}"] if item is not None else []
        where += [f"field '{field}'"] if field else []
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
        self.item = item
        self.field = field


class DataError(AnnotationError):
    """Annotations of a client are malformed at ``path``, for example ``shapes[3].points``."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
