"""The administrator of the hosts in network namespaces, by HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.waiting import wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Sends the requests of the administrator."""

    url: str
    session: requests.Session

    def call(self, method: str, path: str, **more: Any) -> Any:
        """Send a request and return its JSON."""
        answer = self.session.request(method, f"{self.url}{path}", timeout=300, **more)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def log_in(self, name: str, password: str) -> None:
        """Use a token from now on. A password in each request would cost a third of a second."""
        login = {"username": name, "password": password}
        token = self.call("POST", "/api/auth/login", json=login)["key"]
        self.session.headers["Authorization"] = f"Token {token}"

    def wait_for_functions(self, count: int) -> None:
        """Wait until the functions can be called."""

        def ready() -> int:
            listed = self.call("GET", "/api/lambda/functions")
            return sum(item.get("state", "ready") == "ready" for item in listed)

        wait_for("the functions", ready, lambda number: number == count, timeout_s=600, pause_s=1)

    def make_task(self, folder: Path, frames: int) -> int:
        """Upload a video and return the id of its task."""
        video = folder / "video.mp4"
        make_video(video, frames)
        task = self.call("POST", "/api/tasks", json={"name": "hosts", "labels": [{"name": "car"}]})
        with video.open("rb") as file:
            self.call(
                "POST",
                f"/api/tasks/{task['id']}/data",
                data={"image_quality": 70},
                files={"client_files[0]": ("video.mp4", file)},
            )
        found = wait_for(
            "the frames",
            lambda: self.call("GET", f"/api/tasks/{task['id']}")["size"],
            timeout_s=600,
            pause_s=0.5,
        )
        if found != frames:
            raise RuntimeError(f"the task has {found} frames, not {frames}")
        return int(task["id"])

    def annotate(self, task: int, function: str, *, frames: int, shards: int) -> str:
        """Start a request over the first frames in a number of shards. Return its id."""
        body: dict[str, Any] = {"function": function, "task": task}
        body |= {"frames": [[0, frames - 1]], "shard_frames": -(-frames // shards)}
        return str(self.call("POST", "/api/lambda/requests", json=body)["id"])

    def request(self, request: str) -> dict[str, Any]:
        """Return the state of a request."""
        found: dict[str, Any] = self.call("GET", f"/api/lambda/requests/{request}")
        return found

    def finish(self, request: str, *, pause_s: float = 0.1) -> float:
        """Wait for the end of a request. Return its seconds."""
        began = time.monotonic()
        while (found := self.request(request))["status"] in ("queued", "started"):
            time.sleep(pause_s)
        if found["status"] != "finished":
            raise RuntimeError(f"the request ended as {found}")
        return time.monotonic() - began

    def frames(self, task: int) -> list[int]:
        """Return the frames of all shapes of a task."""
        shapes = self.call("GET", f"/api/tasks/{task}/annotations")["shapes"]
        return sorted(shape["frame"] for shape in shapes)


def make_video(path: Path, frames: int) -> None:
    """Write a small video: the benchmark is about hosts, not about the size of images."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 12
        for number in range(frames):
            picture = np.full((64, 64, 3), number % 256, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
