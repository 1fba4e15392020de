"""The runtime's share of the time of a call, and the gain of a second worker.

Run it with ``python -m tests.bench.runtime [--short]``. The share is the time of a call as
measured by a client on loopback, minus the time of the handler, which a header reports. Other load
on the machine only adds to a time, so the result is the lowest of several rounds.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.integration.runtime.harness import Runtime, running, write_function

IMAGE_BYTES = 200_000
ROUNDS = 5
_HANDLER = """
import json, time
def handler(context, event):
    began = time.perf_counter()
    payload = event.body
    item = {"label": "person", "points": [1, 2, 3, 4], "length": len(payload["image"])}
    answer = json.dumps([item])
    time.sleep(payload.get("sleep_s", 0))
    headers = {"X-Handler-Seconds": repr(time.perf_counter() - began)}
    return context.Response(body=answer, headers=headers, content_type="application/json")
"""


def run(short: bool) -> list[dict[str, Any]]:
    """Return the rows of this benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, workers in (("one", 1), ("two", 2)):
            trigger = {"numWorkers": workers}
            write_function(root / "functions", name, _HANDLER, trigger=trigger)
        with running([root / "functions"], root / "state") as runtime:
            for name in ("one", "two"):
                runtime.wait_for_state(name)
            share = measure_share(runtime, 100 if short else 500)
            gain = measure_gain(runtime, 40 if short else 100)
    return [
        {
            "name": "runtime_share_p50_ms",
            "value": round(share, 3),
            "unit": "ms",
            "goal": 2.0,
            "higher_is_better": False,
        },
        {
            "name": "runtime_2_workers_over_1",
            "value": round(gain, 3),
            "unit": "x",
            "goal": 1.9,
            "higher_is_better": True,
        },
    ]


def measure_share(runtime: Runtime, calls: int) -> float:
    """Return the median of a call's time minus its handler's time, in milliseconds."""
    connection, body = _connect(runtime, "one"), _payload(0)
    for _ in range(20):  # the first calls warm up both sides
        _call(connection, body)
    rounds = [[_share(connection, body) for _ in range(calls // ROUNDS)] for _ in range(ROUNDS)]
    connection.close()
    return min(map(statistics.median, rounds)) * 1000


def _share(connection: http.client.HTTPConnection, body: bytes) -> float:
    began = time.perf_counter()
    answer, _ = _call(connection, body)
    return time.perf_counter() - began - float(answer.headers["X-Handler-Seconds"])


def measure_gain(runtime: Runtime, calls: int) -> float:
    """Return the rate of two workers divided by that of one. Their rounds alternate."""
    rates: dict[str, list[float]] = {"one": [], "two": []}
    for _ in range(3):
        for name, found in rates.items():
            found.append(measure_rate(runtime, name, calls))
    return max(rates["two"]) / max(rates["one"])


def measure_rate(runtime: Runtime, name: str, calls: int) -> float:
    """Return the calls per second of a 50 ms handler with four clients."""
    body = _payload(0.05)
    left = iter(range(calls))
    lock = threading.Lock()

    def client() -> None:
        connection = _connect(runtime, name)
        while True:
            with lock:
                if next(left, None) is None:
                    break
            _call(connection, body)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(4)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls / (time.perf_counter() - began)


def _connect(runtime: Runtime, name: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(runtime.address(name).removeprefix("http://"), timeout=60)


def _call(
    connection: http.client.HTTPConnection, body: bytes
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    return answer, content


def _payload(sleep_s: float) -> bytes:
    image = base64.b64encode(os.urandom(IMAGE_BYTES)).decode()
    return json.dumps({"image": image, "sleep_s": sleep_s}).encode()


if __name__ == "__main__":
    for row in run("--short" in sys.argv):
        print(json.dumps(row))
