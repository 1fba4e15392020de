"""The file with the token of the runtime."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cvat_lambda.runtime.authorization import token_in
from cvat_lambda.runtime.errors import RuntimeFault


def test_token_is_written_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = token_in(file)
    assert len(token) > 30
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token_in(file) == token


def test_empty_token_file_is_named_in_the_error(tmp_path: Path) -> None:
    """A runtime without a token would take every request."""
    file = tmp_path / "token"
    file.write_text("\n")
    with pytest.raises(RuntimeFault, match="is empty: delete it"):
        token_in(file)
