"""The code of deployed functions: each version is copied into its own folder.

A restarted worker must run the same code as the other workers, so no version is served from a
folder that a person may edit. Versions that were deployed over REST are kept over restarts.
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
class FunctionSource:
    """One version of a function's code."""

    folder: Path  # it is served from here
    origin: Path  # the original folder; local paths of weights are relative to it
    document: JsonObject  # completed from the folder's function file


class SourceStore:
    """Keeps the folders of versions, and a record of the functions deployed over REST."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def delete_unreferenced(self) -> None:
        """Delete folders that no record names. Call it before functions are served."""
        for home in self._root.glob("*/"):
            try:
                kept = self._read(home / _RECORD).folder if (home / _RECORD).exists() else None
            except (OSError, ValueError, KeyError, TypeError):
                continue  # which folders it names is not known
            for version in home.glob("source-*"):
                if kept is None or not kept.is_relative_to(version):
                    shutil.rmtree(version, ignore_errors=True)

    def receive(self, name: str, document: JsonObject) -> FunctionSource:
        """Copy the code that a document contains or names, and return it.

        Raise BadRequest if there is none.
        """
        version = self._new_version(name)
        try:
            return self._read_source(document, version)
        except (ValueError, FunctionBroken) as exc:
            self.discard(version)
            raise BadRequest(str(exc)) from exc
        except OSError as exc:
            self.discard(version)
            raise RuntimeFault(f"the code of {name!r} cannot be kept: {exc}") from exc
        except BaseException:
            self.discard(version)
            raise

    def _read_source(self, document: JsonObject, version: Path) -> FunctionSource:
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
                # It is unpacked already, and would add megabytes to the list of functions.
                build["path"] = "archive"
        elif path:
            origin = _folder_here(path)
            folder = self._copied(origin, version)
        else:
            raise BadRequest(
                "there is no code: give spec.build.functionSourceCode, or in spec.build.path a "
                "folder of the runtime's machine or the URL of an archive"
            )
        return FunctionSource(folder=folder, origin=origin, document=_completed(document, folder))

    def copy(self, name: str, origin: Path) -> Path:
        """Copy a function folder and return the copy; raise RuntimeFault."""
        version = self._new_version(name)
        try:
            return self._copied(origin, version)
        except OSError as exc:
            self.discard(version)
            raise RuntimeFault(f"its folder {origin} cannot be copied: {exc}") from exc
        except BaseException:
            self.discard(version)
            raise

    def _copied(self, origin: Path, version: Path) -> Path:
        folder = version / origin.name  # the name of the handler may depend on the folder's name
        folder.mkdir()
        copy_folder(origin, folder)
        return folder

    def keep(self, name: str, source: FunctionSource) -> None:
        """Record the deployed version. The record changes atomically.

        Raise RuntimeFault if it cannot be written.
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

    def saved(self) -> Iterator[tuple[str, FunctionSource | None]]:
        """Yield the names of recorded functions with their code, None if it cannot be read."""
        for record in sorted(self._root.glob(f"*/{_RECORD}")):
            try:
                source = self._read(record)
            except (OSError, ValueError, KeyError, TypeError):
                yield record.parent.name, None
                continue
            yield record.parent.name, source if source.folder.is_dir() else None

    def _read(self, record: Path) -> FunctionSource:
        kept = json.loads(record.read_text(encoding="utf-8"))
        folder = Path(kept["folder"])
        origin = Path(kept.get("origin", folder))
        return FunctionSource(
            folder=folder,
            origin=origin if origin.is_dir() else folder,
            document=kept["document"],
        )

    def discard(self, folder: Path) -> None:
        """Delete the folder of a version."""
        with contextlib.suppress(ValueError):  # the folder is not in this store
            name, version, *_ = folder.relative_to(self._root).parts
            shutil.rmtree(self._root / name / version, ignore_errors=True)

    def delete_all(self, name: str) -> None:
        """Delete all versions and the record of a function."""
        shutil.rmtree(self._root / name, ignore_errors=True)

    def _new_version(self, name: str) -> Path:
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
        raise BadRequest(f"spec.build.path {path!r} is not a folder of the runtime's machine")
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
    """Return the only folder of an archive that has nothing else, or the archive itself."""
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        return inside[0]
    return folder


def _completed(document: JsonObject, folder: Path) -> JsonObject:
    """Add the fields of the folder's own function file. The fields of the caller win."""
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
