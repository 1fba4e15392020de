"""The home folder of a standalone server. It holds database, media, logs and secrets."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]  # of a checkout; elsewhere it holds no script/demo
PRIVATE_FOLDER = 0o700
PRIVATE_FILES = 0o077  # umask: new files are 0600, new folders 0700


def is_checkout() -> bool:
    """Return whether the package runs from a checkout and not from an installed wheel."""
    return (REPOSITORY / "script" / "demo").is_file()


def default_home() -> Path:
    """Return ``CVAT_LAMBDA_HOME``, or the user's data folder."""
    home = os.environ.get("CVAT_LAMBDA_HOME")
    return Path(home) if home else Path.home() / ".local/share/cvat_lambda"


def prepare_home(home: Path) -> None:
    """Make the home folder if needed, and deny it to all other accounts.

    The files that this process and its children write from now on are private, too. Raise OSError.
    """
    os.umask(PRIVATE_FILES)
    home.mkdir(parents=True, exist_ok=True)
    if home.stat().st_uid == os.getuid():
        home.chmod(PRIVATE_FOLDER)
