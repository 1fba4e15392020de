"""Download files that a client names by URL. This is off by default and limited to allowed hosts.

The connection goes to the address that was checked, so a second DNS answer has no effect.
Redirects are not followed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3

from cvat_lambda.allowed_hosts import admits, is_named, resolve
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.errors import InvalidRequest

logger = logging.getLogger(__name__)

_BLOCK = 1024 * 1024
_PORTS = {"http": 80, "https": 443}


def check_urls(urls: Iterable[str]) -> None:
    """Raise InvalidRequest if a URL is not allowed."""
    for url in urls:
        _check(url)


def _check(url: str) -> SplitResult:
    if not engine_settings.REMOTE_FILES:
        raise InvalidRequest("this server fetches no remote files; upload the files instead")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidRequest(f"'{url}' is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise InvalidRequest(f"'{url}' is not an http or https URL of a file")
    if not is_named(engine_settings.REMOTE_FILES_ALLOWED_HOSTS, parts.hostname):
        raise InvalidRequest(f"files from '{parts.hostname}' are not allowed on this server")
    return parts


def _address_of(host: str, port: int) -> str:
    """Return an address of the host that the allow-list admits. Raise InvalidRequest."""
    try:
        found = resolve(host, port)
    except OSError as exc:
        raise InvalidRequest(f"the host '{host}' is not known") from exc
    for address in found:
        if admits(engine_settings.REMOTE_FILES_ALLOWED_HOSTS, host, address):
            return str(address)
    raise InvalidRequest(f"files from '{host}' are not allowed on this server")


def fetch(url: str, keep: Callable[[str, Iterable[bytes]], object]) -> None:
    """Download a file and hand it to `keep` with its name. Raise InvalidRequest."""
    parts = _check(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    name = unquote(parts.path.rpartition("/")[2]) or "file"
    timeout = urllib3.Timeout(engine_settings.REMOTE_FILES_TIMEOUT_S)
    try:
        with _pool(parts.scheme, host, _address_of(host, port), port, timeout) as pool:
            answer = pool.request(
                "GET",
                parts.path + (f"?{parts.query}" if parts.query else "") or "/",
                headers={"Host": parts.netloc},
                redirect=False,
                preload_content=False,
                decode_content=True,
            )
            with answer:
                if answer.status != 200:
                    raise InvalidRequest(f"'{url}' answered {answer.status}")
                keep(name, answer.stream(_BLOCK))
    except urllib3.exceptions.HTTPError as exc:
        logger.warning("fetching %s failed: %s", url, exc)
        raise InvalidRequest(f"'{url}' could not be fetched") from exc


def _pool(
    scheme: str, host: str, address: str, port: int, timeout: urllib3.Timeout
) -> urllib3.HTTPConnectionPool:
    """Return connections to the checked address; the certificate must match the host name."""
    if scheme == "https":
        return urllib3.HTTPSConnectionPool(
            address,
            port,
            timeout=timeout,
            retries=False,
            server_hostname=host,
            assert_hostname=host,
        )
    return urllib3.HTTPConnectionPool(address, port, timeout=timeout, retries=False)
