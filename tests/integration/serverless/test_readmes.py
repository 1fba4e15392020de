"""The example in each function's README runs unchanged with a picture of a common size."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http_server import HttpServer, http_server, json_reply

SERVERLESS = Path(__file__).resolve().parents[3] / "serverless"
READMES = sorted(SERVERLESS.glob("*/*/*/README.md"))
PICTURES = ("picture.jpg", "photo.jpg", "frame0.jpg", "frame1.jpg")
PICTURE = os.urandom(300_000)  # its base64 text is longer than Linux allows for one argument
TOOLS = ("bash", "curl", "jq")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason=f"the examples need {', '.join(TOOLS)}"
)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """A server that answers each request with a tracker's state."""
    with http_server(lambda _: json_reply({"states": [{"version": 1}]})) as running:
        yield running


def example(readme: Path) -> str:
    """Return the commands of a README that call the function."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", readme.read_text("utf-8"), re.M | re.S)
    [found] = [block for block in blocks if "curl -s " in block]
    return str(found)


def test_every_readme_is_found() -> None:
    assert len(READMES) == 26


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_example_of_the_readme_sends_the_pictures(
    readme: Path, tmp_path: Path, server: HttpServer
) -> None:
    for name in PICTURES:
        (tmp_path / name).write_bytes(PICTURE)
    encoded = base64.b64encode(PICTURE).decode()
    boxes = [{"points": [1, 2, 3, 4], "label_id": 1}]
    frames = {"image0": encoded, "boxes0": boxes, "image1": encoded, "boxes1": boxes}
    (tmp_path / "two-frames.json").write_text(
        json.dumps(frames)
    )  # the reader of the README creates this file
    address = f"127.0.0.1:{server.port}"
    script = example(readme).replace("localhost:PORT", address)
    environment = {**os.environ, "FUNCTION_URL": f"http://{address}", "no_proxy": "127.0.0.1"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert server.requests
    for body in (request.json() for request in server.requests):
        pictures = [value for key, value in body.items() if key.startswith("image")]
        assert pictures
        assert set(pictures) == {encoded}
