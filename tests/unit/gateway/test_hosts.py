"""The allow-list of endpoints: what a URL may be, and which addresses a host may resolve to."""

from __future__ import annotations

import ipaddress

import pytest

from cvat_lambda.errors import InvalidRequest
from cvat_lambda.gateway.hosts import admits, split_url
from cvat_lambda.gateway.http import Server


@pytest.mark.parametrize(
    ("entry", "host", "address", "admitted"),
    [
        ("models.example.org", "models.example.org", "93.184.216.34", True),
        ("models.example.org", "MODELS.example.org.", "93.184.216.34", True),
        ("models.example.org", "models.example.org", "10.1.2.3", True),  # an internal name
        ("models.example.org", "evil.example.org", "93.184.216.34", False),
        ("*.example.org", "a.b.example.org", "93.184.216.34", True),
        ("*.example.org", "example.org", "93.184.216.34", False),
        ("*.example.org", "notexample.org", "93.184.216.34", False),
        # a name that was allowed and now resolves to this machine or to cloud metadata
        ("models.example.org", "models.example.org", "127.0.0.1", False),
        ("models.example.org", "models.example.org", "169.254.169.254", False),
        ("models.example.org", "models.example.org", "::ffff:127.0.0.1", False),
        ("models.example.org", "models.example.org", "0.0.0.0", False),
        ("models.example.org", "models.example.org", "fe80::1", False),
        # the metadata services of clouds that are not link-local
        ("models.example.org", "models.example.org", "fd00:ec2::254", False),
        ("models.example.org", "models.example.org", "fd20:ce::254", False),
        ("models.example.org", "models.example.org", "fd00:c1::a9fe:a9fe", False),
        ("models.example.org", "models.example.org", "100.100.100.200", False),
        ("models.example.org", "models.example.org", "::ffff:100.100.100.200", False),
        ("*.example.org", "models.example.org", "168.63.129.16", False),
        ("models.example.org", "models.example.org", "100.100.100.201", True),
        ("models.example.org", "models.example.org", "fd00::254", True),  # an internal name
        ("100.100.100.200", "anything", "100.100.100.200", True),  # asked for by its address
        ("localhost", "localhost", "127.0.0.1", True),
        ("localhost", "localhost", "10.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", True),
        ("10.1.0.0/16", "anything", "10.1.255.1", True),
        ("10.1.0.0/16", "anything", "10.2.0.1", False),
        ("10.1.0.0/16", "10.1.0.1", "::ffff:10.1.0.1", True),
        ("fd00::/8", "x", "fd00::5", True),
    ],
)
def test_an_entry_admits_its_hosts_and_addresses(
    entry: str, host: str, address: str, admitted: bool
) -> None:
    assert admits([entry], host, ipaddress.ip_address(address)) is admitted


def test_an_empty_list_admits_nothing() -> None:
    assert not admits([], "example.org", ipaddress.ip_address("93.184.216.34"))


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
def test_a_url_is_split_into_server_and_path(url: str, server: Server, path: str) -> None:
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
def test_a_url_that_cannot_be_an_endpoint_is_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        split_url(url)
