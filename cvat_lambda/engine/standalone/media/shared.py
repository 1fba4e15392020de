"""Files in the server's shared folder, which a setting names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.engine.standalone.media.archives import IMAGE_SUFFIXES
from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.errors import InvalidRequest


def resolve(names: Iterable[str]) -> list[SourceFile]:
    """Return files by names relative to the shared folder; for a folder, its images.

    Raise InvalidRequest for a missing file, a path outside, or if there is no shared folder.
    """
    names = list(names)
    if not names:
        return []
    if not engine_settings.SHARE_ROOT:
        raise InvalidRequest("this server has no shared folder; upload the files instead")
    root = Path(engine_settings.SHARE_ROOT).resolve()
    found: list[SourceFile] = []
    for name in names:
        found += _resolve_one(root, name)
    return found


def _resolve_one(root: Path, name: str) -> list[SourceFile]:
    missing = InvalidRequest(f"file '{name}' is not in the shared folder")
    if "\x00" in name:
        raise missing
    path = (root / name.lstrip("/")).resolve()
    if path != root and root not in path.parents:
        raise missing
    if path.is_dir():
        inside = sorted(item for item in path.rglob("*") if item.suffix.lower() in IMAGE_SUFFIXES)
        return [_source(root, item) for item in inside if root in item.resolve().parents]
    if not path.is_file():
        raise missing
    return [_source(root, path)]


def _source(root: Path, path: Path) -> SourceFile:
    return SourceFile(path=path, name=path.relative_to(root).as_posix())
