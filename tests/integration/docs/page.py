"""Follow a page of the documentation: write its files and run its commands, in their order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.ports import free_port

REPOSITORY: Final = Path(__file__).resolve().parents[3]
COMMAND_TIMEOUT_S: Final = 600  # the first function builds an environment
PAGES_PORT: Final = 8070  # replaced by a free port
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED: Final = re.compile(r"# (\S+)\n")
# A stand-in for nuctl. It records its arguments, and the files of the folder to deploy.
_NUCTL: Final = """\
#!/bin/sh
echo "$@" >> nuctl.asked
if [ "$1" = deploy ]; then ls "$3" >> nuctl.asked; fi
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def path(self) -> str | None:
        """The path in the block's first line; None if that line is not a path."""
        named = _NAMED.match(self.text)
        return None if named is None or "/" not in named[1] else named[1]


def read_blocks(name: str) -> list[Block]:
    """Return the fenced blocks of a page under docs/ in their order."""
    text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
    return [Block(language=found[1], text=found[2]) for found in _BLOCK.finditer(text)]


def follow(blocks: list[Block], folder: Path) -> list[str]:
    """Write the files and run the commands in a folder. Return the output of each command block."""
    port = free_port()
    environment = _environment(folder, port)
    printed = []
    for block in blocks:
        if block.path is not None:
            _write(folder / block.path, block.text)
        elif block.language == "sh":
            commands = block.text.replace(f"--port {PAGES_PORT}", f"--port {port}")
            printed.append(_run(commands, folder, environment))
    return printed


def _write(path: Path, text: str) -> None:
    """Write a file. Merge it into an existing function.yaml."""
    if path.suffix == ".yaml" and path.exists():
        text = yaml.safe_dump(_merged(yaml.safe_load(path.read_text()), yaml.safe_load(text)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _run(commands: str, folder: Path, environment: dict[str, str]) -> str:
    """Run commands and return their output. Background processes are ended with them."""
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{commands}",
        ],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _environment(folder: Path, port: int) -> dict[str, str]:
    """Return the environment of the commands: this Python, the stand-in for nuctl, a free port."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "nuctl").write_text(_NUCTL)
    (tools / "nuctl").chmod(0o755)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY),
        "CVAT_LAMBDA_RUNTIME_URL": f"http://127.0.0.1:{port}",
    }
