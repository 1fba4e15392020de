"""Downloads over HTTP that are resumed where they were interrupted."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from cvat_lambda.runtime.cancellation import check_cancelled, interruptible, pause
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.spec.quantities import format_bytes

Progress = Callable[[str], object]
CHUNK: Final = 2**18  # bytes
ATTEMPTS: Final = 4
CONNECT_TIMEOUT_S: Final = 30.0
_TELL_EVERY_S: Final = 5.0
# Hugging Face's hub states the SHA-256 of a large file here, in the redirection to its storage.
_SHA256_HEADER: Final = "X-Linked-Etag"
_SHA256: Final = re.compile(r'^"?([0-9a-f]{64})"?$')


def download(url: str, target: Path, progress: Progress, *, pause_s: float = 1.0) -> str | None:
    """Fetch a URL into a file and return the SHA-256 that the server states, if it states one.

    What an earlier attempt wrote is kept and continued. Raise NotPrepared if the server refuses, or
    if all attempts fail.
    """
    reason = ""
    stated = _StatedChecksum()
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(pause_s * 2 ** (attempt - 1))
        try:
            # A silent server must not delay the end of the runtime.
            interruptible(lambda: _continue(url, target, progress, stated))
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code == 416:
                # The partial file is as long as the whole one, or longer: start again.
                target.unlink(missing_ok=True)
            elif exc.code < 500 and exc.code not in (408, 429):
                raise NotPrepared(f"{url} answered {exc.code} {exc.reason}") from exc
            reason = f"{exc.code} {exc.reason}"
        except (http.client.InvalidURL, UnicodeError) as exc:
            raise NotPrepared(f"{url} is not an address: percent-encode it ({exc})") from exc
        except (OSError, http.client.HTTPException) as exc:
            reason = str(exc) or type(exc).__name__
        else:
            return stated.sha256
        progress(f"{url}: {reason}; {_held(target)} so far")
    raise NotPrepared(f"{url} cannot be fetched: {reason}")


class _StatedChecksum(urllib.request.HTTPRedirectHandler):
    """Reads the checksum of a file from the headers of its server."""

    sha256: str | None = None

    def read(self, headers: http.client.HTTPMessage) -> None:
        match = _SHA256.match(headers.get(_SHA256_HEADER, ""))
        if match is not None:
            self.sha256 = match[1]

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.read(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _continue(url: str, target: Path, progress: Progress, stated: _StatedChecksum) -> None:
    start = target.stat().st_size if target.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "cvat-lambda"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    opener = urllib.request.build_opener(stated)
    with opener.open(request, timeout=CONNECT_TIMEOUT_S) as response:
        stated.read(response.headers)
        if start and response.status != 206:
            start = 0  # the server does not support ranges
        check_cancelled()  # before the file is touched
        total = _length(response)
        whole = None if total is None else start + total
        with target.open("ab" if start else "wb") as file:
            _copy(response, file, start, whole, lambda text: progress(f"{url}: {text}"))
    if whole is not None and target.stat().st_size < whole:
        raise http.client.IncompleteRead(b"", whole - target.stat().st_size)


def _copy(
    source: http.client.HTTPResponse,
    target: IO[bytes],
    done: int,
    whole: int | None,
    progress: Progress,
) -> None:
    told_at = time.monotonic()
    while chunk := source.read1(CHUNK):  # read1 does not wait for a full block
        check_cancelled()
        target.write(chunk)
        done += len(chunk)
        if time.monotonic() - told_at >= _TELL_EVERY_S:
            told_at = time.monotonic()
            share = "" if not whole else f" of {format_bytes(whole)} ({100 * done // whole} %)"
            progress(f"{format_bytes(done)}{share}")


def _length(response: http.client.HTTPResponse) -> int | None:
    with contextlib.suppress(TypeError, ValueError):
        return int(response.headers.get("Content-Length", ""))
    return None


def _held(target: Path) -> str:
    return format_bytes(target.stat().st_size if target.exists() else 0)
