"""The code of functions as it was when they were deployed: each version in a folder of its own.

A worker that is started anew must run what its neighbours run, so no version is served from a
folder that somebody may be editing. What was deployed over REST is kept over restarts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.client
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvat_lambda.runtime.cancellation import check_cancelled, interruptible
from cvat_lambda.runtime.deploy.archives import copy_folder, unpack
from cvat_lambda.runtime.errors import BadRequest, FunctionBroken, RuntimeFault
from cvat_lambda.runtime.spec.discovery import plain_file
from cvat_lambda.runtime.spec.fields import JsonObject, mapping, text, to_json
from cvat_lambda.runtime.spec.function_file import EXTRAS_KEY, read_document

MAX_ARCHIVE: Final = 512 * 2**20  # bytes
_FETCH_TIMEOUT_S: Final = 60
_CHUNK: Final = 2**18  # bytes
_RECORD: Final = "deployed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One version of a function's code."""

    folder: Path  # it is served from here; nobody else writes into it
    origin: Path  # where it came from: what its weights' local paths are relative to
    document: JsonObject  # whole: its own file's fields are filled in


class SourceStore:
    """Keeps the folders of versions, and a record of what is deployed over REST."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sweep(self) -> None:
        """Delete what no record names; call it before anything is served."""
        for home in self._root.glob("*/"):
            try:
                kept = self._read(home / _RECORD).folder if (home / _RECORD).exists() else None
            except (OSError, ValueError, KeyError, TypeError):
                continue  # nobody knows what belongs to it
            for version in home.glob("source-*"):
                if kept is None or not kept.is_relative_to(version):
                    shutil.rmtree(version, ignore_errors=True)

    def take_in(self, name: str, document: JsonObject) -> Source:
        """Return the code that a document brings or names; nothing of it is deployed yet.

        Raises BadRequest when there is none to be had.
        """
        version = self._fresh(name)
        try:
            return self._taken(document, version)
        except (ValueError, FunctionBroken) as exc:
            self.discard(version)
            raise BadRequest(str(exc)) from exc
        except OSError as exc:
            self.discard(version)
            raise RuntimeFault(f"the code of {name!r} cannot be kept: {exc}") from exc
        except BaseException:
            self.discard(version)
            raise

    def _taken(self, document: JsonObject, version: Path) -> Source:
        document = to_json(document)
        spec = mapping(document.get("spec"), "spec")
        build = mapping(spec.get("build"), "spec.build")
        path = text(build.get("path"), "spec.build.path")
        inline = text(build.get("functionSourceCode"), "spec.build.functionSourceCode")
        if inline:
            _write_inline(version, spec, inline)
            folder = origin = version
        elif path.startswith(("data:", "http://", "https://")):
            attributes = mapping(build.get("codeEntryAttributes"), "spec.build.codeEntryAttributes")
            headers = mapping(attributes.get("headers"), "spec.build.codeEntryAttributes.headers")
            unpack(_fetch(path, headers), version)
            folder = origin = _single_folder(version)
            if path.startswith("data:"):
                build["path"] = "archive"  # it is unpacked: nobody wants megabytes in each list
        elif path:
            origin = _folder_here(path)
            folder = self._copied(origin, version)
        else:
            raise BadRequest(
                "there is no code: give spec.build.functionSourceCode, or in spec.build.path a "
                "folder of the runtime's machine or the URL of an archive"
            )
        return Source(folder=folder, origin=origin, document=_completed(document, folder))

    def copy(self, name: str, origin: Path) -> Path:
        """Return a copy of a function folder as it is now; raises RuntimeFault."""
        version = self._fresh(name)
        try:
            return self._copied(origin, version)
        except OSError as exc:
            self.discard(version)
            raise RuntimeFault(f"its folder {origin} cannot be copied: {exc}") from exc
        except BaseException:
            self.discard(version)
            raise

    def _copied(self, origin: Path, version: Path) -> Path:
        folder = version / origin.name  # a handler may be named after its folder
        folder.mkdir()
        copy_folder(origin, folder)
        return folder

    def keep(self, name: str, source: Source) -> None:
        """Record what is deployed; the record changes as a whole or not at all.

        Raises RuntimeFault where it cannot be written.
        """
        record = self._root / name / _RECORD
        temporary = record.with_suffix(f".{os.getpid()}")
        kept = {
            "document": source.document,
            "folder": str(source.folder),
            "origin": str(source.origin),
        }
        try:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(record)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise RuntimeFault(f"what is deployed of {name!r} cannot be recorded: {exc}") from exc

    def saved(self) -> Iterator[tuple[str, Source | None]]:
        """Yield the names of what was deployed, with None where it cannot be read any more."""
        for record in sorted(self._root.glob(f"*/{_RECORD}")):
            try:
                source = self._read(record)
            except (OSError, ValueError, KeyError, TypeError):
                yield record.parent.name, None
                continue
            yield record.parent.name, source if source.folder.is_dir() else None

    def _read(self, record: Path) -> Source:
        kept = json.loads(record.read_text(encoding="utf-8"))
        folder = Path(kept["folder"])
        origin = Path(kept.get("origin", folder))
        return Source(
            folder=folder,
            origin=origin if origin.is_dir() else folder,
            document=kept["document"],
        )

    def discard(self, folder: Path) -> None:
        """Delete the folder of a version that nobody uses any more."""
        with contextlib.suppress(ValueError):  # it is none of ours
            name, version, *_ = folder.relative_to(self._root).parts
            shutil.rmtree(self._root / name / version, ignore_errors=True)

    def forget(self, name: str) -> None:
        """Delete everything that is kept of a function."""
        shutil.rmtree(self._root / name, ignore_errors=True)

    def _fresh(self, name: str) -> Path:
        home = self._root / name
        home.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="source-", dir=home))


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


def _folder_here(path: str) -> Path:
    folder = Path(path).expanduser()
    if folder.is_file():
        folder = folder.parent
    if not folder.is_absolute() or not folder.is_dir():
        raise BadRequest(f"spec.build.path {path!r} is no folder of the runtime's machine")
    return folder.resolve()


def _fetch(url: str, headers: JsonObject) -> bytes:
    request = urllib.request.Request(url, headers={str(k): str(v) for k, v in headers.items()})

    def read() -> bytes:
        data = bytearray()
        with urllib.request.urlopen(request, timeout=_FETCH_TIMEOUT_S) as response:
            while chunk := response.read1(_CHUNK):
                check_cancelled()
                data += chunk
                if len(data) > MAX_ARCHIVE:
                    raise BadRequest(f"the archive of spec.build.path is over {MAX_ARCHIVE} bytes")
        return bytes(data)

    try:
        return interruptible(read)
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise BadRequest(f"the archive of spec.build.path cannot be fetched: {exc}") from exc


def _single_folder(folder: Path) -> Path:
    """Return the one folder that an archive holds, where it was made of a folder."""
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        return inside[0]
    return folder


def _completed(document: JsonObject, folder: Path) -> JsonObject:
    """Fill in what the folder's own function.yaml says; what the caller says wins."""
    file = plain_file(folder)
    if file is None:
        return document
    own = read_document(file)
    complete = dict(document)
    for key in ("metadata", "spec"):
        complete[key] = {
            **mapping(own.get(key), f"{key} of its {file.name}"),
            **mapping(document.get(key), key),
        }
    if EXTRAS_KEY in own:
        complete.setdefault(EXTRAS_KEY, own[EXTRAS_KEY])
    return complete
