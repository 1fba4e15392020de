"""Values of command-line options of the standalone server."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from cvat_lambda.server.arguments import address, count, port, roles, share


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (port, "0", 0),
        (port, "65535", 65535),
        (address, "localhost", "127.0.0.1"),
        (address, "::1", "::1"),
        (count, "64", 64),
        (roles, "workers, web", ("web", "workers")),
        (share, "0.25", 0.25),
    ],
)
def test_value_of_an_option_is_read(
    read: Callable[[str], object], text: str, value: object
) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (port, "65536", "65536 is not a port: 0 to 65535"),
        (port, "http", "'http' is not a whole number"),
        (address, "example", "'example' is not an IP address"),
        (count, "0", "0 is out of range: 1 to 64"),
        (roles, "web,db", "'db' is not one of the roles web, workers, runtime"),
        (share, "half", "'half' is not a number"),
        (share, "1.5", "1.5 is out of range: 0 to 1"),
        (share, "nan", "nan is out of range"),
    ],
)
def test_wrong_value_of_an_option_is_named(
    read: Callable[[str], object], text: str, sentence: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=sentence):
        read(text)
