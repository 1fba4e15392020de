"""Downloads over HTTP that are resumed where they were interrupted."""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from cvat_lambda.runtime.cancellation import check_cancelled, interruptible, pause
from cvat_lambda.runtime.errors import NotPrepared
from cvat_lambda.runtime.spec.quantities import format_bytes

Progress = Callable[[str], object]
CHUNK: Final = 2**18  # bytes
ATTEMPTS: Final = 4
CONNECT_TIMEOUT_S: Final = 30.0
_TELL_EVERY_S: Final = 5.0


def download(url: str, target: Path, progress: Progress, *, pause_s: float = 1.0) -> None:
    """Fetch a URL into a file. What an earlier attempt wrote is kept and continued.

    Raise NotPrepared if the server refuses, or if all attempts fail.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(pause_s * 2 ** (attempt - 1))
        try:
            # A silent server must not delay the end of the runtime.
            interruptible(lambda: _continue(url, target, progress))
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
            return
        progress(f"{url}: {reason}; {_held(target)} so far")
    raise NotPrepared(f"{url} cannot be fetched: {reason}")


def _continue(url: str, target: Path, progress: Progress) -> None:
    start = target.stat().st_size if target.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "cvat-lambda"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as response:
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
