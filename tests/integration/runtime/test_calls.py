"""Invocations at a function's port, and through the dashboard, as a client sees them."""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.integration.runtime.conftest import Deploy, embedded_only
from tests.integration.runtime.harness import Runtime
from tests.waiting import wait_for

MIRROR = """
import json, os
def init_context(context):
    context.user_data.calls = 0
def handler(context, event):
    context.user_data.calls += 1
    body = event.body
    what = body.get("do") if isinstance(body, dict) else None
    if what == "log":
        context.logger.debug("a %s record", "quiet")
        context.logger.warn_with("a loud record", frame=3)
        print("printed")
    return json.dumps({
        "body_type": type(body).__name__, "size": event.size, "method": event.method,
        "path": event.path, "fields": event.fields, "headers": event.headers,
        "content_type": event.content_type, "trigger": [event.trigger.kind, event.trigger.name],
        "worker": context.worker_id, "timestamp": event.timestamp.year, "calls":
        context.user_data.calls, "file": os.path.exists("/opt/nuclio/main.py"),
        "name": os.environ["NUCLIO_FUNCTION_NAME"], "own": os.environ.get("OWN"),
        "secret": os.environ.get("DATABASE_URL"),
    })
"""
SLOW = """
import json, os, signal, threading, time
def init_context(context):
    context.user_data.served = 0
def handler(context, event):
    body = event.body or {}
    what = body.get("do")
    context.user_data.served += 1
    if what == "sleep":
        time.sleep(body["seconds"])
    if what == "exit":
        os._exit(body["status"])
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "crash":
        import ctypes
        ctypes.string_at(0)
    return json.dumps({"pid": os.getpid(), "served": context.user_data.served})
"""


@pytest.fixture(scope="module")
def mirror(deploy: Deploy) -> str:
    return deploy(MIRROR, env=[{"name": "OWN", "value": "yes"}])


def connect(url: str) -> socket.socket:
    """Return a bare connection to the host and port of a URL."""
    host, _, port = urlsplit(url).netloc.rpartition(":")
    return socket.create_connection((host, int(port)), 60)


@pytest.mark.parametrize(
    ("content_type", "body", "seen"),
    [
        ("application/json", b'{"a": 1}', "dict"),
        ("application/json; charset=utf-8", b'{"a": 1}', "bytes"),  # only the exact type is parsed
        ("application/json", b"{no json", "bytes"),
        ("image/png", b"\x89PNG", "bytes"),
    ],
)
def test_body_is_parsed_for_the_content_type_application_json_only(
    platform: Runtime, mirror: str, content_type: str, body: bytes, seen: str
) -> None:
    answer = platform.call(mirror, data=body, headers={"Content-Type": content_type})
    assert (answer.json()["body_type"], answer.json()["size"]) == (seen, len(body))


def test_event_has_method_path_query_and_canonical_headers(platform: Runtime, mirror: str) -> None:
    event = platform.call(
        mirror, method="PUT", path="/some/path?a=1&a=2&b=x", data=b"x", headers={"x-sOME-name": "v"}
    ).json()
    assert event["method"] == "PUT"
    assert event["path"] == "/some/path"
    assert event["fields"] == {"a": "2", "b": "x"}
    assert event["headers"]["X-Some-Name"] == "v"
    assert event["trigger"] == ["http", "http"]
    assert event["worker"] == "0"
    assert event["timestamp"] > 2000


@embedded_only
def test_worker_has_the_functions_variables_and_no_secret_of_the_runtime(
    platform: Runtime, mirror: str
) -> None:
    event = platform.call(mirror).json()
    assert (event["name"], event["own"], event["secret"], event["file"]) == (
        mirror,
        "yes",
        None,
        True,
    )


def test_header_that_is_not_utf_8_is_500_and_keeps_the_worker(
    platform: Runtime, mirror: str
) -> None:
    with connect(platform.address(mirror)) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Odd: \xff\xfe\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Exception caught while serving" in answer
    assert platform.call(mirror).status_code == 200


def test_log_records_of_the_requested_level_are_in_a_header(platform: Runtime, mirror: str) -> None:
    answer = platform.call(mirror, {"do": "log"}, headers={"X-Nuclio-Log-Level": "warn"})
    records = json.loads(answer.headers["X-Nuclio-Logs"])
    assert [(record["level"], record["message"]) for record in records] == [
        ("warn", "a loud record")
    ]
    assert {(record["name"], record["worker_id"]) for record in records} == {("http", "0")}


EVENT = """
import json
def handler(context, event):
    body = event.body.decode() if isinstance(event.body, bytes) else event.body
    return json.dumps({
        "id": event.id, "type": event.type, "type_version": event.type_version,
        "version": event.version, "content_type": event.content_type, "body": body,
        "kind": event.trigger.kind, "timestamp": event.timestamp.isoformat()[:19],
    })
"""
CLOUD_EVENT = {
    "id": "A-1",
    "type": "com.example",
    "type_version": "1.0",
    "version": "0.1",
    "content_type": "text/plain",
    "body": "hello",
    "kind": "/source",
    "timestamp": "2018-04-05T17:31:00",
}


def test_structured_cloud_event_becomes_the_event(platform: Runtime, deploy: Deploy) -> None:
    name = deploy(EVENT)
    given = {
        "cloudEventsVersion": "0.1",
        "eventID": "A-1",
        "eventType": "com.example",
        "eventTypeVersion": "1.0",
        "eventTime": "2018-04-05T17:31:00Z",
        "source": "/source",
        "contentType": "text/plain",
        "data": "hello",
    }
    headers = {"Content-Type": "application/cloudevents+json"}
    answer = platform.call(name, data=json.dumps(given), headers=headers)
    assert answer.json() == CLOUD_EVENT
    refused = platform.call(name, data="[1]", headers=headers)
    assert refused.status_code == 400


def test_cloud_event_in_headers_becomes_the_event(platform: Runtime, deploy: Deploy) -> None:
    name = deploy(EVENT)
    headers = {
        "Content-Type": "text/plain",
        "CE-CloudEventsVersion": "0.1",
        "CE-EventID": "A-1",
        "CE-EventType": "com.example",
        "CE-EventTypeVersion": "1.0",
        "CE-EventTime": "2018-04-05T17:31:00Z",
        "CE-Source": "/source",
    }
    assert platform.call(name, data="hello", headers=headers).json() == CLOUD_EVENT
    newer = {"Content-Type": "text/plain", "ce-specversion": "1.0", "ce-id": "A-1"}
    assert platform.call(name, data="hello", headers=newer).json()["type"] == ""


@embedded_only
def test_logger_lines_and_prints_are_in_the_log_with_the_request_id(
    platform: Runtime, mirror: str
) -> None:
    platform.call(mirror, {"do": "log"}, headers={"X-Request-Id": "request-77"})
    log = wait_for(
        "the line in the log", lambda: platform.log(mirror), lambda text: "[output] printed" in text
    )
    assert "[debug] a quiet record" in log
    line = next(line for line in log.splitlines() if "a loud record" in line and "77" in line)
    assert "[warn]" in line
    assert "frame" in line


def test_health_route_answers_200_without_a_body(platform: Runtime, mirror: str) -> None:
    answer = platform.call(mirror, method="GET", path="/__internal/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_body_over_the_limit_is_400_and_nothing_runs(platform: Runtime, deploy: Deploy) -> None:
    name = deploy(MIRROR, trigger={"attributes": {"maxRequestBodySize": 1000}})
    assert platform.call(name, data=b"x" * 1000).json()["calls"] == 1
    answer = platform.call(name, data=b"x" * 1001)
    assert (answer.status_code, answer.text) == (400, "Error when parsing request")
    assert platform.call(name).json()["calls"] == 2


@embedded_only
def test_a_chunked_body_over_the_limit_is_400_too(platform: Runtime, deploy: Deploy) -> None:
    name = deploy(MIRROR, trigger={"attributes": {"maxRequestBodySize": 1000}})
    answer = platform.call(name, data=iter([b"x" * 600, b"x" * 600]))
    assert (answer.status_code, answer.text) == (400, "Error when parsing request")
    assert platform.call(name, data=iter([b"x" * 600, b"x" * 300])).json()["size"] == 900


def test_a_head_over_the_limit_is_431(platform: Runtime, mirror: str) -> None:
    answer = platform.call(mirror, headers={"X-Long": "a" * 17000})
    assert (answer.status_code, answer.text) == (431, "Too big request header")
    assert platform.call(mirror, headers={"X-Long": "a" * 10000}).status_code == 200


def test_a_body_in_broken_chunks_is_400_and_nothing_runs(platform: Runtime, mirror: str) -> None:
    before = platform.call(mirror).json()["calls"]
    with connect(platform.address(mirror)) as raw:
        raw.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split()[1] == b"400"
    assert platform.call(mirror).json()["calls"] == before + 1


def test_expect_100_continue_is_answered(platform: Runtime, mirror: str) -> None:
    with connect(platform.address(mirror)) as raw:
        raw.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 100 Continue")
        raw.sendall(b"hi")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_one_connection_serves_many_calls(platform: Runtime, mirror: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(platform.address(mirror)).netloc, timeout=60)
    sizes = []
    for length in (0, 1, 300_000):
        connection.request("POST", "/", b"x" * length)
        sizes.append(json.loads(connection.getresponse().read())["size"])
    connection.close()
    assert sizes == [0, 1, 300_000]


# --- waiting, timeouts, crashes ------------------------------------------------------------------


def test_calls_wait_for_a_busy_worker_up_to_the_availability_timeout(
    platform: Runtime, deploy: Deploy
) -> None:
    name = deploy(SLOW, trigger={"workerAvailabilityTimeoutMilliseconds": 60_000})
    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(platform.call, name, {"do": "sleep", "seconds": 0.5}) for _ in range(5)]
        assert [job.result().status_code for job in jobs] == [200] * 5


def test_calls_without_availability_timeout_are_refused_at_once(
    platform: Runtime, deploy: Deploy
) -> None:
    name = deploy(SLOW, trigger={"workerAvailabilityTimeoutMilliseconds": 0})
    with ThreadPoolExecutor(5) as pool:

        def five_at_once() -> list[tuple[int, bytes]]:
            nap = {"do": "sleep", "seconds": 3}
            answers = [pool.submit(platform.call, name, nap) for _ in range(5)]
            found = [answer.result() for answer in answers]
            return sorted((each.status_code, each.content[:1]) for each in found)

        # A slow machine may send one call after another has ended. Then all are sent again.
        wait_for(
            "one answer with status 200 and four with 503",
            five_at_once,
            lambda seen: seen == [(200, b"{"), *[(503, b"")] * 4],
        )


def test_handler_over_the_event_timeout_is_408_and_its_worker_is_replaced(
    platform: Runtime, deploy: Deploy
) -> None:
    name = deploy(SLOW, eventTimeout="1s")
    # On a slow machine this call may time out, too. Then it is repeated.
    first = wait_for(
        "an answer with status 200",
        lambda: platform.call(name, {}),
        lambda seen: seen.status_code == 200,
    )
    before = first.json()["pid"]
    answer = platform.call(name, {"do": "sleep", "seconds": 60})
    assert (answer.status_code, answer.json()) == (408, {"error": "handler timed out"})
    # The runtime lets the next call wait for the new worker. Nuclio answers 500 until then.
    answers = wait_for(
        "an answer with status 200",
        lambda: platform.call(name, {}),
        lambda seen: seen.status_code == 200,
    )
    after = answers.json()
    assert after["pid"] != before
    assert after["served"] == 1


@embedded_only
@pytest.mark.parametrize(
    ("crash", "told"),
    [
        ({"do": "exit", "status": 3}, "exited with status 3"),
        ({"do": "exit", "status": 0}, "exited with status 0"),  # Nuclio does not notice it
        ({"do": "kill"}, "was killed by SIGKILL"),
        ({"do": "crash"}, "was killed by SIGSEGV"),
    ],
)
def test_crash_fails_only_its_own_call_and_the_worker_is_replaced(
    platform: Runtime, deploy: Deploy, crash: dict[str, object], told: str
) -> None:
    name = deploy(SLOW, trigger={"numWorkers": 2})
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(platform.call, name, {"do": "sleep", "seconds": 1})
        answer = pool.submit(platform.call, name, crash).result()
    assert answer.status_code == 502
    assert told in answer.text
    assert other.result().status_code == 200
    assert platform.call(name, {}).status_code == 200
    assert platform.function(name)["status"]["state"] == "ready"


@embedded_only
def test_client_that_leaves_during_its_body_affects_no_other_call(
    platform: Runtime, deploy: Deploy
) -> None:
    name, said = deploy(SLOW), len(platform.output)
    with connect(platform.address(name)) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
    assert platform.call(name, {}).json()["served"] == 1
    # The log line of the deployment may be read late.
    assert [line for line in platform.output[said:] if "is ready" not in line] == []


@embedded_only
def test_call_waits_for_a_restarting_worker(platform: Runtime, deploy: Deploy) -> None:
    name = deploy(SLOW)
    for _ in range(3):
        assert platform.call(name, {"do": "exit", "status": 1}).status_code == 502
        assert platform.call(name, {}).status_code == 200


# --- through the dashboard -----------------------------------------------------------------------


def test_dashboard_passes_calls_and_answers_on_unchanged(platform: Runtime, mirror: str) -> None:
    headers = {"x-nuclio-function-name": mirror, "x-nuclio-path": "/deep?a=1", "X-Own": "kept"}
    answer = platform.request("PUT", "/api/function_invocations", data=b"abc", headers=headers)
    event = answer.json()
    assert (event["method"], event["path"], event["fields"]) == ("PUT", "/deep", {"a": "1"})
    assert (event["size"], event["headers"]["X-Own"]) == (3, "kept")
    assert event["headers"]["X-Nuclio-Target"] == mirror


def test_dashboard_does_not_pass_on_headers_of_nuclio(platform: Runtime, mirror: str) -> None:
    headers = {"x-nuclio-function-name": mirror, "x-nuclio-log-level": "debug"}
    answer = platform.request("POST", "/api/function_invocations", json={}, headers=headers)
    assert answer.status_code == 200
    assert not [key for key in answer.headers if key.lower().startswith("x-nuclio")]


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({}, 400, "Function name must be provided"),
        (
            {"x-nuclio-function-name": "nobody"},
            404,
            "Failed to invoke function: Function not found: nobody @ nuclio",
        ),
        (
            {"x-nuclio-function-name": "MIRROR", "x-nuclio-invoke-url": "evil.example:80"},
            400,
            "Failed to invoke function: Invalid function url evil.example:80",
        ),
    ],
)
def test_dashboard_describes_a_malformed_call(
    platform: Runtime, mirror: str, headers: dict[str, str], status: int, error: str
) -> None:
    filled = {key: mirror if value == "MIRROR" else value for key, value in headers.items()}
    answer = platform.request("POST", "/api/function_invocations", json={}, headers=filled)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(error)


@embedded_only
@pytest.mark.parametrize("timeout", ["soon", "-3s", "10", "0"])
def test_malformed_timeout_is_400_and_runs_nothing(
    platform: Runtime, mirror: str, timeout: str
) -> None:
    before = platform.call(mirror).json()["calls"]
    headers = {"x-nuclio-function-name": mirror, "x-nuclio-invoke-timeout": timeout}
    answer = platform.request("POST", "/api/function_invocations", json={}, headers=headers)
    assert answer.status_code == 400
    assert platform.call(mirror).json()["calls"] == before + 1


def test_call_over_the_timeout_of_the_dashboard_is_500(platform: Runtime, deploy: Deploy) -> None:
    name = deploy(SLOW)
    headers = {"x-nuclio-function-name": name, "x-nuclio-invoke-timeout": "300ms"}
    payload = {"do": "sleep", "seconds": 5}
    answer = platform.request("POST", "/api/function_invocations", json=payload, headers=headers)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("Failed to invoke function:")
