"""The code of functions that arrive over REST: inline, an archive, or a folder here."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .archives import unpack
from .discovery import FUNCTION_FILE
from .errors import BadRequest
from .functionfile import EXTRAS_KEY, JsonObject, read_document

MAX_ARCHIVE: Final = 512 * 2**20  # bytes
_FETCH_TIMEOUT_S: Final = 60


class SourceStore:
    """Keeps the folders of deployed functions, one a function, over restarts of the runtime."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def take_in(self, name: str, document: JsonObject) -> tuple[Path, JsonObject]:
        """Return the function's folder and its whole document (its own file's fields filled in).

        Raises BadRequest when there is no code to be had.
        """
        build = (document.get("spec") or {}).get("build") or {}
        path = build.get("path") or ""
        if build.get("functionSourceCode"):
            folder = self._fresh(name)
            _write_inline(folder, document["spec"], build["functionSourceCode"])
        elif path.startswith(("data:", "http://", "https://")):
            folder = self._fresh(name)
            headers = (build.get("codeEntryAttributes") or {}).get("headers") or {}
            unpack(_fetch(path, headers), folder)
            folder = _single_folder(folder)
        elif path:
            folder = Path(path).expanduser()
            if folder.is_file():
                folder = folder.parent
            if not folder.is_absolute() or not folder.is_dir():
                raise BadRequest(f"spec.build.path {path!r} is no folder of the runtime's machine")
        else:
            raise BadRequest(
                "there is no code: give spec.build.functionSourceCode, or in spec.build.path a "
                "folder of the runtime's machine or the URL of an archive"
            )
        complete = _completed(document, folder)
        self._save(name, complete, folder)
        return folder, complete

    def saved(self) -> Iterator[tuple[JsonObject, Path]]:
        """Yield the documents and folders of what had been deployed."""
        for record in sorted(self._root.glob("*/deployed.json")):
            try:
                kept = json.loads(record.read_text(encoding="utf-8"))
                folder = Path(kept["folder"])
            except (OSError, ValueError, KeyError):
                continue
            if folder.is_dir():
                yield kept["document"], folder

    def forget(self, name: str) -> None:
        """Delete what is kept of a function."""
        shutil.rmtree(self._root / name, ignore_errors=True)

    def _fresh(self, name: str) -> Path:
        # A new folder each time: the version that still serves reads from its own. That is one of
        # the two newest, as an update that failed leaves a folder too.
        home = self._root / name
        home.mkdir(parents=True, exist_ok=True)
        earlier = sorted(home.glob("source-*"), key=lambda path: path.stat().st_mtime_ns)
        for outdated in earlier[:-2]:
            shutil.rmtree(outdated, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix="source-", dir=home))

    def _save(self, name: str, document: JsonObject, folder: Path) -> None:
        home = self._root / name
        home.mkdir(parents=True, exist_ok=True)
        record = home / "deployed.json"
        record.write_text(json.dumps({"document": document, "folder": str(folder)}), "utf-8")


def _write_inline(folder: Path, spec: JsonObject, source: str) -> None:
    try:
        code = base64.b64decode(source, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadRequest("spec.build.functionSourceCode is not base64") from exc
    module = str(spec.get("handler") or "handler:handler").partition(":")[0]
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise BadRequest(f"spec.handler {spec.get('handler')!r} must look like module:callable")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(code.replace(b"\r", b""))
    spec.setdefault("handler", "handler:handler")


def _fetch(url: str, headers: dict[str, Any]) -> bytes:
    request = urllib.request.Request(url, headers={str(k): str(v) for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=_FETCH_TIMEOUT_S) as response:
            data: bytes = response.read(MAX_ARCHIVE + 1)
    except (OSError, ValueError, urllib.error.URLError) as exc:
        raise BadRequest(f"the archive of spec.build.path cannot be fetched: {exc}") from exc
    if len(data) > MAX_ARCHIVE:
        raise BadRequest(f"the archive of spec.build.path is over {MAX_ARCHIVE} bytes")
    return data


def _single_folder(folder: Path) -> Path:
    """Return the one folder that an archive holds, where it was made of a folder."""
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        return inside[0]
    return folder


def _completed(document: JsonObject, folder: Path) -> JsonObject:
    """Fill in what the folder's own function.yaml says; what the caller says wins."""
    file = folder / FUNCTION_FILE
    complete = copy.deepcopy(document)
    build = complete["spec"].get("build") or {}
    if str(build.get("path", "")).startswith("data:"):
        build["path"] = "archive"  # it is unpacked: nobody wants megabytes in each list
    if not file.exists():
        return complete
    own = read_document(file)
    for key in ("metadata", "spec"):
        complete[key] = {**(own.get(key) or {}), **(complete.get(key) or {})}
    if EXTRAS_KEY in own:
        complete.setdefault(EXTRAS_KEY, own[EXTRAS_KEY])
    return complete
