"""Find uv, the installer of function environments, and pass pip's settings to it.

uv reads none of pip's settings. A mirror that is configured for pip is therefore passed to uv in
uv's own variables. A variable of uv that is set already has precedence.
"""

from __future__ import annotations

import configparser
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from cvat_lambda.runtime.environments.variables import installer_variables
from cvat_lambda.runtime.errors import NotPrepared

# Option of pip -> variable of uv, and how uv separates several values.
_SAME: Final = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "pre": ("UV_PRERELEASE", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "proxy": ("ALL_PROXY", " "),
    "no-cache-dir": ("UV_NO_CACHE", " "),
    "require-hashes": ("UV_REQUIRE_HASHES", " "),
}
_NO_INDEX: Final = "no-index"  # an option of uv that has no variable
_FLAGS: Final = frozenset({"pre", "no-cache-dir", "require-hashes"})
# The package `uv` asks `sysconfig`. That of Python 3.11 gives half of its values to a second
# thread while the first one collects them.
_finding_uv: Final = threading.Lock()
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_SECTIONS: Final = ("global", "install")  # of pip's files; the second one has precedence


def find_uv() -> str:
    """Return the path of uv: the one on the PATH, or that of the package `uv`.

    Raise NotPrepared if there is none.
    """
    on_path = shutil.which("uv")
    if on_path is not None:
        return on_path
    try:
        from uv import find_uv_bin

        with _finding_uv:
            return str(find_uv_bin())
    except (ImportError, FileNotFoundError) as exc:
        raise NotPrepared(
            "the program uv, which builds Python environments, is not installed: "
            "run pip install uv, or install cvat-lambda with its 'runtime' extra"
        ) from exc


def uv_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables of uv, among them the settings of pip.

    As pip does, uv then compares the releases of all indexes and ignores missing folders.
    """
    found: dict[str, str] = {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }
    if environ.get("CVAT_LAMBDA_CACHE"):
        # On the disk of the environments, because uv links files from its cache.
        found["UV_CACHE_DIR"] = str(Path(environ["CVAT_LAMBDA_CACHE"]).expanduser() / "uv")
    settings = pip_settings(environ)
    settings.pop(_NO_INDEX, None)
    for option, text in settings.items():
        variable, separator = _SAME[option]
        values = text.split()
        if option in _FLAGS:
            if text.strip().lower() not in _TRUE:
                continue
            values = ["allow" if option == "pre" else "1"]
        if option == "find-links":
            values = [value for value in values if not _is_missing_folder(value)]
        if values:
            found[variable] = separator.join(values)
    return {**found, **installer_variables()}


def install_options(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the options of ``uv pip install`` that pip's settings ask for."""
    no_index = pip_settings(environ).get(_NO_INDEX, "")
    return ["--no-index"] if no_index.strip().lower() in _TRUE else []


def pip_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the settings of pip that uv has too, by their names in pip's files.

    The precedence is pip's: variables over files, later files over earlier ones.
    """
    found: dict[str, str] = {}
    for file in _pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip reports a file that it cannot read
        for section in _SECTIONS:
            if parser.has_section(section):
                found.update((_option(key), value) for key, value in parser.items(section))
    for key, value in environ.items():
        if key.startswith("PIP_") and value:
            found[_option(key.removeprefix("PIP_"))] = value
    known = {*_SAME, _NO_INDEX}
    return {option: value for option, value in found.items() if option in known}


def _option(name: str) -> str:
    return name.lower().replace("_", "-")


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    shared = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    files = [Path(folder, "pip", "pip.conf") for folder in reversed(shared.split(os.pathsep))]
    files.append(Path("/etc/pip.conf"))
    if not (chosen and Path(chosen).exists()):
        own = environ.get("XDG_CONFIG_HOME")
        files.append(home / ".pip" / "pip.conf")
        files.append((Path(own) if own else home / ".config") / "pip" / "pip.conf")
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(chosen)] if chosen else files


def _is_missing_folder(value: str) -> bool:
    parts = urlsplit(value)
    if parts.scheme not in ("", "file"):
        return False
    return not Path(unquote(parts.path)).exists()
