"""The home folder of a standalone server. It holds database, media, logs and secrets."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]  # of a checkout; elsewhere it holds no script/demo
PRIVATE_FOLDER = 0o700
PRIVATE_FILES = 0o077  # umask: new files are 0600, new folders 0700


RUNTIME_URL = "runtime.url"  # a file of the home folder: the address of the function runtime
RUNTIME_TOKEN = "runtime.token"  # a file of the home folder: the token that the runtime asks for


def is_checkout() -> bool:
    """Return whether the package runs from a checkout and not from an installed wheel."""
    return (REPOSITORY / "script" / "demo").is_file()


def default_home() -> Path:
    """Return ``CVAT_LAMBDA_HOME``, or the user's data folder."""
    home = os.environ.get("CVAT_LAMBDA_HOME")
    return Path(home) if home else Path.home() / ".local/share/cvat_lambda"


def running_platform(home: Path) -> dict[str, str]:
    """Return the settings of the function runtime that runs, or last ran, with a home folder."""
    try:
        url = (home / RUNTIME_URL).read_text(encoding="utf-8").strip()
        token = (home / RUNTIME_TOKEN).read_text(encoding="utf-8").strip()
    except OSError:
        return {}
    return {
        "CVAT_LAMBDA_PLATFORM_URL": url,
        "CVAT_LAMBDA_PLATFORM_TOKEN": token,
        "CVAT_LAMBDA_PLATFORM_PROJECT": "",  # all of its functions are served
    }


def prepare_home(home: Path) -> None:
    """Make the home folder if needed, and deny it to all other accounts.

    The files that this process and its children write from now on are private, too. Raise OSError.
    """
    os.umask(PRIVATE_FILES)
    home.mkdir(parents=True, exist_ok=True)
    if home.stat().st_uid == os.getuid():
        home.chmod(PRIVATE_FOLDER)
