"""The servers and data of the benchmarks: real PostgreSQL, Redis, RQ workers and frames.

`prepare` sets the environment before Django is set up, so it runs in a process of its own.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = (1280, 720)
DISTINCT = 24  # number of image files; the frames of tasks are links to them


def prepare(home: Path, *, durable: bool = True) -> None:
    """Start the servers, set Django up and create the tables.

    ``durable``: PostgreSQL's commits wait for the disk, as in production.
    """
    from tests import services

    os.environ.pop("CVAT_LAMBDA_REDIS_URL", None)
    os.environ["CVAT_LAMBDA_HOME"] = str(home)
    os.environ["CVAT_LAMBDA_REDIS_URL"] = services.redis_url()
    database = os.environ.get("CVAT_LAMBDA_BENCH_DATABASE")
    if database == "sqlite":
        database = f"sqlite:///{home}/db.sqlite3"
    os.environ["DATABASE_URL"] = database or services.postgresql_url(durable=durable)
    os.environ["DJANGO_SETTINGS_MODULE"] = "cvat_lambda.server.settings"
    os.environ["CVAT_LAMBDA_FUNCTIONS_REFRESH_S"] = "0"
    os.environ["CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS"] = "127.0.0.1/32"
    os.environ["CVAT_LAMBDA_LOG_LEVEL"] = "WARNING"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def make_images(folder: Path) -> list[Path]:
    """Write JPEG files of 1280x720 pixels and about 200 KB. Return their paths."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    made = []
    for number in range(DISTINCT):
        coarse = random.integers(0, 255, (90, 160, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC))
        noise = random.normal(0, 9, picture.shape)
        image = Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        path = folder / f"{number:02}.jpg"
        path.write_bytes(buffer.getvalue())
        made.append(path)
    return made


def make_video(path: Path, frames: int) -> None:
    """Write a video of 1280x720 pixels with a key frame every 12 frames."""
    import av
    import numpy as np

    random = np.random.default_rng(3)
    texture = random.integers(0, 255, (SIZE[1] // 4, SIZE[0] // 4 + 256, 3), dtype=np.uint8)
    texture = texture.repeat(4, axis=0).repeat(4, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 12
        for number in range(frames):
            left = 4 * (number % 200)
            picture = np.ascontiguousarray(texture[:, left : left + SIZE[0]])
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@contextmanager
def function_process(latency_ms: float, workers: int) -> Iterator[int]:
    """Start a function process of fixed latency. Yield its port."""
    arguments = ("--latency-ms", str(latency_ms), "--workers", str(workers))
    with function_program("tests.bench.latency_function", *arguments) as port:
        yield port


@contextmanager
def function_program(module: str, *arguments: str) -> Iterator[int]:
    """Start a module that prints its port and serves until its input ends. Yield its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


@contextmanager
def worker_process(log: Path, **environment: str) -> Iterator[int]:
    """Start a real RQ worker. Yield its process id."""
    from cvat_lambda.server.processes import Child

    command = [sys.executable, "manage.py", "rqworker", "annotation", "--skip-checks"]
    env = {**os.environ, **environment}
    child = Child.start("worker", command, env=env, log=log, cwd=REPOSITORY)
    try:
        yield child.process.pid
    finally:
        child.stop()


def worker_cpu_s(pid: int) -> float:
    """Return the CPU time in seconds of a worker and of its work horses, when none is left."""
    import psutil

    worker = psutil.Process(pid)
    psutil.wait_procs(worker.children(recursive=True), timeout=30)
    time.sleep(0.5)  # the worker waits for its work horse
    times = worker.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


@dataclass
class Peak(threading.Thread):
    """Samples the memory of a worker's work horses. ``kib`` is the highest peak so far."""

    pid: int
    kib: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Sample until stopped."""
        import psutil

        worker = psutil.Process(self.pid)
        while not self.stopped.wait(0.05):
            for child in worker.children():
                self.kib = max(self.kib, _high_water_kib(child.pid))


def _high_water_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@dataclass
class Stand:
    """Creates tasks and functions, and runs requests with the worker."""

    home: Path
    images: list[Path]
    owner: Any

    def task(self, frames: int) -> Any:
        """Create a task of JPEG frames, which are links to the image files."""
        from cvat_lambda.engine.standalone.media.files import SourceFile
        from cvat_lambda.engine.standalone.media.ingest import Ingestion, Selection
        from cvat_lambda.engine.standalone.tasks import create_task

        files = [
            SourceFile(path=self.images[number % DISTINCT], name=f"{number:06}.jpg")
            for number in range(frames)
        ]
        how = Ingestion(
            selection=Selection(sorting_method="predefined"), placing="link", check_pixels=False
        )
        labels = [{"name": "car", "type": "rectangle"}]
        return create_task(self.owner, f"{frames} frames", labels, files, ingestion=how)

    def video_task(self, frames: int) -> Any:
        """Create a task of a video."""
        from cvat_lambda.engine.standalone.tasks import create_task

        path = self.home / "video.mp4"
        make_video(path, frames)
        return create_task(self.owner, "video", [{"name": "car", "type": "rectangle"}], [path])

    def function(self, port: int, workers: int, *, binary: bool = False, max_batch: int = 1) -> str:
        """Register a function process with the app. Return its function id."""
        from cvat_lambda.functions.models import Function

        label = '[{"name": "car", "type": "rectangle"}]'
        attributes = {"maxRequestBodySize": 33554432}
        Function.objects.update_or_create(
            id=f"fixed-{port}",
            defaults={
                "platform": "endpoint",
                "kind": "detector",
                "endpoint_url": f"http://127.0.0.1:{port}/",
                "metadata": {
                    "metadata": {
                        "name": f"fixed-{port}",
                        "annotations": {
                            "type": "detector",
                            "spec": label,
                            "binary": str(binary).lower(),
                            "max_batch": str(max_batch),
                        },
                    },
                    "spec": {
                        "triggers": {
                            "h": {"kind": "http", "numWorkers": workers, "attributes": attributes}
                        }
                    },
                    "status": {"state": "ready"},
                },
            },
        )
        return f"fixed-{port}"

    def run(self, task: Any, function_id: str, **options: Any) -> Any:
        """Run a request to its end. Return its row."""
        from cvat_lambda.engine.standalone.access import StandaloneAccess
        from cvat_lambda.requests.control.create import create_request

        request = create_request(
            StandaloneAccess(self.owner), function_id=function_id, task_id=task.pk, **options
        )
        while request.status in ("queued", "started"):
            time.sleep(0.1)
            request.refresh_from_db()
        if request.status != "finished" or request.done != request.total:
            raise RuntimeError(f"the request ended as {request.status}: {request.error_message}")
        return request


@contextmanager
def stand() -> Iterator[Stand]:
    """Prepare servers and data. Delete them at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-bench-") as folder:
        home = Path(folder)
        prepare(home)
        from django.contrib.auth.models import User

        owner = User.objects.create_user("bench", "bench@example.com", None)
        yield Stand(home=home, images=make_images(home / "pictures"), owner=owner)
