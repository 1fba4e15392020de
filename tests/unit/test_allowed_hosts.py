"""The allow-list of hosts: which hosts its entries allow, and which addresses are public."""

from __future__ import annotations

import ipaddress

import pytest

from cvat_lambda.allowed_hosts import admits, is_named, is_public, resolve


@pytest.mark.parametrize(
    ("entry", "host", "address", "admitted"),
    [
        ("models.example.org", "models.example.org", "93.184.216.34", True),
        ("models.example.org", "MODELS.example.org.", "93.184.216.34", True),
        ("models.example.org", "evil.example.org", "93.184.216.34", False),
        ("*.example.org", "a.b.example.org", "93.184.216.34", True),
        ("*.example.org", "example.org", "93.184.216.34", False),
        ("*.example.org", "notexample.org", "93.184.216.34", False),
        # a private address needs a network entry
        ("models.example.org", "models.example.org", "10.1.2.3", False),
        ("models.example.org", "models.example.org", "fd00::254", False),
        ("100.100.100.200", "anything", "100.100.100.200", True),
        ("localhost", "localhost", "127.0.0.1", True),
        ("localhost", "localhost", "10.0.0.1", False),
        ("localhost", "other", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", True),
        ("10.1.0.0/16", "anything", "10.1.255.1", True),
        ("10.1.0.0/16", "anything", "10.2.0.1", False),
        ("10.1.0.0/16", "10.1.0.1", "::ffff:10.1.0.1", True),
        ("fd00::/8", "x", "fd00::5", True),
        ("64:ff9b::/96", "x", "64:ff9b::5db8:d822", True),
    ],
)
def test_entry_allows_its_hosts_and_addresses_only(
    entry: str, host: str, address: str, admitted: bool
) -> None:
    assert admits([entry], host, ipaddress.ip_address(address)) is admitted


def test_empty_list_allows_no_host() -> None:
    assert not admits([], "example.org", ipaddress.ip_address("93.184.216.34"))
    assert not is_named([], "example.org")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",  # loopback
        "::1",
        "::ffff:127.0.0.1",
        "10.1.2.3",  # private
        "172.16.0.1",
        "192.168.1.1",
        "fd00::254",
        "100.64.0.1",  # shared (carrier-grade NAT)
        "169.254.169.254",  # link-local: the metadata service of most clouds
        "fe80::1",
        "0.0.0.0",  # unspecified
        "::",
        "224.0.0.1",  # multicast
        "239.1.1.1",
        "ff02::1",
        "ff0e::1",
        "255.255.255.255",
        "240.0.0.1",  # reserved
        "2002:7f00:1::1",  # 6to4 of 127.0.0.1
        "2002:5db8:d822::1",  # 6to4 of a public address
        "2001:0:5db8:d822::1",  # Teredo
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::5db8:d822",
        "64:ff9b:1::a00:1",
        "::127.0.0.1",  # IPv4-compatible
        "fd00:ec2::254",  # the metadata services of clouds that are not link-local: AWS
        "fd20:ce::254",  # Google
        "fd00:c1::a9fe:a9fe",  # Oracle
        "100.100.100.200",  # Alibaba
        "::ffff:100.100.100.200",
        "168.63.129.16",  # Azure
    ],
)
def test_internal_address_of_an_allowed_name_is_refused(address: str) -> None:
    assert not admits(["a.example.org"], "a.example.org", ipaddress.ip_address(address))
    assert not admits(["*.example.org"], "a.example.org", ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "named"),
    [
        ("example.org", "example.org", True),
        ("*.example.org", "a.example.org", True),
        ("example.org", "example.net", False),
        ("10.0.0.0/8", "intern.example.org", True),  # its address decides
        ("10.0.0.0/8", "10.1.1.1", True),
        ("10.0.0.0/8", "127.0.0.1", False),
        ("example.org", "93.184.216.34", False),
    ],
)
def test_host_is_named_before_its_address_is_known(entry: str, host: str, named: bool) -> None:
    assert is_named([entry], host) is named


def test_resolve_of_an_unknown_or_impossible_name_raises_oserror() -> None:
    for name in ("no-such-host.invalid", "a" * 300):
        with pytest.raises(OSError):
            resolve(name, 80)
