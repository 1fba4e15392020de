"""Run the commands of docs/deploy-functions.md, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.runtime.harness import REPOSITORY
from tests.ports import free_port


def test_commands_of_the_page_succeed_in_their_order(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "deploy-functions.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    port = free_port()
    script = tmp_path / "page.sh"
    text = "\n".join(blocks).replace("8070", str(port))
    script.write_text(f"set -e\ntrap 'kill %1; wait' EXIT\n{text}")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(REPOSITORY),
        "CVAT_LAMBDA_RUNTIME_URL": f"http://127.0.0.1:{port}",
    }
    done = subprocess.run(
        ["bash", str(script)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bright-things: passed" in done.stdout
    assert re.search(r"same-thing +reid +ready", done.stdout)
    assert "same-thing is removed" in done.stdout
