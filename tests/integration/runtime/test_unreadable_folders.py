"""Function folders of another user, which the runtime cannot list."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from cvat_lambda.runtime.spec.discovery import discover


def discover_as_nobody(root: Path) -> str:
    """Discover functions as another user, because root may list every folder."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            found = discover([root])
            os.write(writer, repr((found.folders, found.unreadable)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        return file.read().decode()


@pytest.mark.skipif(os.getuid() != 0, reason="only the superuser can become another user")
def test_folder_that_cannot_be_listed_is_reported_with_its_reason() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in (root, root / "closed", root / "open"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        (root / "open" / "function.yaml").write_text("")
        (root / "closed").chmod(0o700)
        unreadable = ((root / "closed", "Permission denied"),)
        assert discover_as_nobody(root) == repr(((root / "open",), unreadable))
        root.chmod(0o700)  # also as the given folder
        assert discover_as_nobody(root) == repr(((), ((root, "Permission denied"),)))
