"""The URL of an endpoint, split into server and path."""

from __future__ import annotations

import pytest

from cvat_lambda.errors import InvalidRequest
from cvat_lambda.gateway.host_resolver import split_url
from cvat_lambda.gateway.http import Server


@pytest.mark.parametrize(
    ("url", "server", "path"),
    [
        ("http://a.org/x?y=1", Server(host="a.org", port=80), "/x?y=1"),
        ("https://a.org:8443", Server(scheme="https", host="a.org", port=8443), "/"),
        ("http://[::1]:81/p", Server(host="::1", port=81), "/p"),
        ("https://bücher.example/", Server(scheme="https", host="xn--bcher-kva.example", port=443),
         "/"),
    ],
)  # fmt: skip
def test_url_is_split_into_server_and_path(url: str, server: Server, path: str) -> None:
    assert split_url(url) == (server, path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://a.org/", "begins with http"),
        ("file:///etc/passwd", "begins with http"),
        ("//a.org/", "begins with http"),
        ("http:///x", "begins with http"),
        ("http://user:secret@a.org/", "token beside the URL"),
        ("http://a.org:99999/", "malformed"),
        ("http://[::1/", "malformed"),
        ("http://a.org/ x", "a space"),
        ("http://a.org/x#y", "fragment"),
        ("http://a.org/ä", "percent-encoded"),
        ("http://a.org/x\r\nHost: b", "a space"),
        ("http://" + "a" * 300 + "/", "malformed"),
    ],
)
def test_url_that_cannot_be_an_endpoint_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        split_url(url)
