"""Licences of weights: which ones must be accepted before a download."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cvat_lambda.runtime.errors import NotPrepared

# SPDX ids of licences that allow any use.
_PERMISSIVE: Final = frozenset(
    {"0bsd", "afl-3.0", "apache-2.0", "blueoak-1.0.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0"}
    | {"cc-by-3.0", "cc-by-4.0", "cc0-1.0", "isc", "mit", "mit-0", "ncsa", "psf-2.0"}
    | {"python-2.0", "unlicense", "wtfpl", "x11", "zlib", "public domain"}
)
ACCEPT_VARIABLE: Final = "CVAT_LAMBDA_ACCEPT_LICENCES"


class LicencePolicy:
    """The licences that the person who started the runtime has accepted."""

    def __init__(self, accepted: Iterable[str] = ()) -> None:
        self._accepted = frozenset(_plain(text) for text in accepted)

    def check(self, file: str, licence: str | None) -> None:
        """Raise NotPrepared for a licence that must be accepted first, with the option to do so."""
        name = licence or "unstated"
        if _plain(name) in _PERMISSIVE or _plain(name) in self._accepted:
            return
        raise NotPrepared(
            f"the weights {file!r} are under a licence that is not permissive: {name}. Read it; to "
            f"accept it start the runtime with --accept-licence {_quoted(name)} or with "
            f"{ACCEPT_VARIABLE}={_quoted(name)}",
            transient=False,  # the settings are read at the start
        )


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def _quoted(text: str) -> str:
    return text if text.replace("-", "").replace(".", "").isalnum() else f'"{text}"'
