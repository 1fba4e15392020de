from __future__ import annotations

import io
from pathlib import Path

import pytest

from cvat_lambda.server.log_output import LogOutput


def copied(logs: LogOutput) -> str:
    """Return what one call writes."""
    assert isinstance(logs.output, io.StringIO)
    logs.output.seek(0)
    logs.output.truncate()
    logs.copy_new_lines()
    return logs.output.getvalue()


@pytest.fixture
def logs(tmp_path: Path) -> LogOutput:
    return LogOutput(folder=tmp_path, output=io.StringIO(), prefix=True)


def test_each_complete_line_is_copied_once_with_the_name_of_its_process(
    logs: LogOutput, tmp_path: Path
) -> None:
    (tmp_path / "web-0.log").write_text("one\ntw")
    (tmp_path / "worker-0.log").write_text("three\n")
    assert copied(logs) == "web-0: one\nworker-0: three\n"
    with (tmp_path / "web-0.log").open("a") as log:
        log.write("o\n")
    assert copied(logs) == "web-0: two\n"
    assert copied(logs) == ""


def test_log_that_was_started_anew_is_copied_from_its_beginning(
    logs: LogOutput, tmp_path: Path
) -> None:
    (tmp_path / "web-0.log").write_text("a long line\n")
    copied(logs)
    (tmp_path / "web-0.log").write_text("new\n")
    assert copied(logs) == "web-0: new\n"
    (tmp_path / "web-0.log").unlink()
    assert copied(logs) == ""


def test_lines_have_no_prefix_if_they_are_json(logs: LogOutput, tmp_path: Path) -> None:
    logs.prefix = False
    (tmp_path / "web-0.log").write_text('{"level": "INFO"}\n')
    assert copied(logs) == '{"level": "INFO"}\n'
