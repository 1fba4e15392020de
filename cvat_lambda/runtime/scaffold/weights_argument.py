"""The argument ``--weights``: a file of this machine, or a URL."""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.paths import file_digest
from cvat_lambda.runtime.scaffold.model_folder import Weights
from cvat_lambda.runtime.weights.download import download


def add_weights_arguments(
    parser: argparse.ArgumentParser, *, example: str, required: bool = True
) -> None:
    """Add ``--weights``, ``--sha256`` and ``--licence``."""
    parser.add_argument(
        "--weights",
        required=required,
        metavar="FILE|URL",
        help=f"the trained model ({example}): a file, which is copied, or a URL",
    )
    parser.add_argument("--sha256", help="the checksum that the file must have")
    parser.add_argument(
        "--licence", help="the licence of weights from a URL (an SPDX id), shown before a download"
    )


@contextmanager
def given_weights(options: Mapping[str, Any]) -> Iterator[Weights]:
    """Yield the weights of the arguments, fetched if they are a URL; raise RuntimeFault."""
    given = str(options["weights"])
    address = urlsplit(given)
    if address.scheme not in ("http", "https"):
        path = Path(given).expanduser()
        if not path.is_file():
            raise RuntimeFault(f"the weights {path} are not a file")
        _check(path, options)
        yield Weights(file=_plain(path.name), path=path)
        return
    scratch = Path(tempfile.mkdtemp(prefix="cvat-lambda-"))
    try:
        path = scratch / (Path(address.path).name or "weights")
        download(given, path, print)
        _check(path, options)
        yield Weights(file=_plain(path.name), path=path, url=given, licence=options.get("licence"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _plain(name: str) -> str:
    """Return a file name without what a function file does not allow."""
    return re.sub(r"[^\w.+-]", "-", name).lstrip(".+-") or "weights"


def _check(path: Path, options: Mapping[str, Any]) -> None:
    wanted = options.get("sha256")
    if wanted and file_digest(path) != wanted.lower():
        raise RuntimeFault(f"the weights have the SHA-256 {file_digest(path)}, not {wanted}")
