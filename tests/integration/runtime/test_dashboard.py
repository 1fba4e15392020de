"""Every status and every answer of the dashboard's REST API."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.integration.runtime.conftest import Deploy, document, embedded_only
from tests.integration.runtime.harness import Runtime
from tests.waiting import wait_for

NO_ADDRESS = "Failed to invoke function: Invocation URL is required"
HELLO = "def handler(context, event):\n    return 'hello'\n"


@pytest.fixture(scope="module")
def hello(deploy: Deploy) -> str:
    return deploy(HELLO, eventTimeout="7s")


@pytest.fixture
def fresh(platform: Runtime) -> Iterator[str]:
    """An unused function name. The function is deleted after the test."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    yield name
    delete(platform, name)


def invoked(platform: Runtime, name: str) -> requests.Response:
    headers = {"x-nuclio-function-name": name}
    return platform.request("POST", "/api/function_invocations", json={}, headers=headers)


def delete(platform: Runtime, name: str, **headers: str) -> requests.Response:
    body = {"metadata": {"name": name, "namespace": "nuclio"}}
    return platform.request("DELETE", "/api/functions", json=body, headers=headers)


def test_the_list_is_an_object_by_name(platform: Runtime, hello: str) -> None:
    found = platform.request("GET", "/api/functions").json()
    assert found[hello]["metadata"]["name"] == hello
    assert found[hello]["status"]["state"] == "ready"


@pytest.mark.parametrize(
    ("headers", "present"),
    [
        ({"x-nuclio-project-name": "default"}, True),
        ({"x-nuclio-project-name": "other"}, False),
        ({"x-nuclio-function-name": "HELLO"}, True),
        ({"x-nuclio-function-name": "nobody"}, False),
    ],
)
def test_the_list_is_filtered_by_headers(
    platform: Runtime, hello: str, headers: dict[str, str], present: bool
) -> None:
    filled = {key: hello if value == "HELLO" else value for key, value in headers.items()}
    answer = platform.request("GET", "/api/functions", headers=filled)
    assert (answer.status_code, hello in answer.json()) == (200, present)


def test_function_object_has_the_spec_and_the_addresses(platform: Runtime, hello: str) -> None:
    found = platform.function(hello)
    assert found["spec"]["eventTimeout"] == "7s"
    assert found["spec"]["resources"] == {"requests": {"cpu": "25m", "memory": "1Mi"}}
    assert found["spec"]["handler"] == "main:handler"
    assert found["metadata"]["labels"]["nuclio.io/project-name"] == "default"
    port = found["status"]["httpPort"]
    assert found["status"]["externalInvocationUrls"][0].endswith(f":{port}")
    assert "://" not in found["status"]["externalInvocationUrls"][0]


def test_paths_with_and_without_a_final_slash_are_equal(platform: Runtime, hello: str) -> None:
    for path in ("/api/functions", f"/api/functions/{hello}", "/api/projects"):
        plain, slashed = platform.request("GET", path), platform.request("GET", path + "/")
        assert (slashed.status_code, slashed.json()) == (200, plain.json())


def test_an_export_has_no_status(platform: Runtime, hello: str) -> None:
    found = platform.request("GET", f"/api/functions/{hello}?export=true").json()
    assert sorted(found) == ["metadata", "spec"]
    assert found["metadata"]["annotations"]["nuclio.io/previous-state"] == "ready"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/api/functions/nobody", None, 404, "Function not found"),
        ("GET", "/api/functions/nobody/replicas", None, 404, "Function not found"),
        # The sentence is that of the JSON reader: of Go's in Nuclio, of Python's here.
        ("POST", "/api/functions", "no json", 400, ""),
        ("POST", "/api/functions", "[" * 100_000, 400, ""),
        ("POST", "/api/functions", {"spec": {}}, 400, "Function name must be provided"),
        (
            "POST",
            "/api/functions",
            {"metadata": {"name": "-bad"}, "spec": {}},
            400,
            "Function name doesn't conform to k8s naming convention",
        ),
        ("PATCH", "/api/functions/nobody", {"desiredState": "ready"}, 404, "Function not found"),
        ("GET", "/api/projects/nobody", None, 404, "Project not found"),
    ],
)
def test_malformed_request_gets_its_status_and_a_message(
    platform: Runtime, method: str, path: str, body: object, status: int, error: str
) -> None:
    more = {"data": body} if isinstance(body, str) else {"json": body}
    answer = platform.request(method, path, **more)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/json")
    assert error in answer.json()["error"]


def test_wrong_methods_and_paths_are_refused(platform: Runtime, hello: str) -> None:
    assert platform.request("DELETE", f"/api/functions/{hello}").status_code == 405
    assert platform.request("GET", "/api/nothing").status_code == 404


def test_a_second_function_of_a_name_is_409(platform: Runtime, hello: str) -> None:
    answer = platform.request("POST", "/api/functions", json=document(hello, HELLO))
    assert answer.status_code == 409
    assert answer.json()["error"] == "Cannot create two functions with the same name"


@embedded_only
def test_one_of_two_concurrent_creations_of_a_name_gets_409(platform: Runtime, fresh: str) -> None:
    posted = document(fresh, HELLO)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(platform.request, "POST", "/api/functions", json=posted) for _ in range(4)
        ]
        statuses = sorted(job.result().status_code for job in jobs)
    assert statuses == [202, 409, 409, 409]
    platform.wait_for_state(fresh)


def test_put_creates_and_updates_a_function(platform: Runtime, fresh: str) -> None:
    for code, text in ((HELLO, "hello"), (HELLO.replace("hello", "changed"), "changed")):
        answer = platform.request(
            "PUT",
            f"/api/functions/{fresh}",
            json=document(fresh, code),
            headers={"x-nuclio-wait-function-action": "true"},
        )
        assert (answer.status_code, answer.content) == (202, b"")
        platform.wait_for_state(fresh)
        assert platform.call(fresh).text == text


def test_second_delete_of_a_function_is_204(platform: Runtime, fresh: str) -> None:
    platform.request("POST", "/api/functions", json=document(fresh, HELLO))
    platform.wait_for_state(fresh)
    assert delete(platform, fresh).status_code == 204
    assert delete(platform, fresh).status_code == 204
    assert platform.request("GET", f"/api/functions/{fresh}").status_code == 404


def test_a_function_that_is_being_provisioned_is_neither_changed_nor_removed_nor_called(
    platform: Runtime, fresh: str
) -> None:
    slow = "import time\ndef init_context(context):\n    time.sleep(8)\n" + HELLO
    platform.request("POST", "/api/functions", json=document(fresh, slow))
    changed = platform.request("PUT", f"/api/functions/{fresh}", json=document(fresh, HELLO))
    removed, called = delete(platform, fresh), invoked(platform, fresh)
    assert (changed.status_code, changed.json()["error"]) == (
        412,
        "Function cannot be updated when existing function is being provisioned",
    )
    assert (removed.status_code, removed.json()["error"]) == (
        412,
        "Function is being provisioned and cannot be deleted",
    )
    assert (called.status_code, called.json()["error"]) == (500, NO_ADDRESS)
    platform.wait_for_state(fresh)  # otherwise it cannot be removed


@embedded_only  # Nuclio's build goes on after the removal, and makes the function again
def test_a_function_that_is_being_provisioned_is_removed_by_force(
    platform: Runtime, fresh: str
) -> None:
    slow = "import time\ndef init_context(context):\n    time.sleep(60)\n" + HELLO
    platform.request("POST", "/api/functions", json=document(fresh, slow))
    forced = delete(platform, fresh, **{"x-nuclio-delete-function-ignore-state-validation": "true"})
    assert forced.status_code == 204
    assert platform.request("GET", f"/api/functions/{fresh}").status_code == 404


def test_a_function_that_does_not_load_is_in_error_and_has_no_address(
    platform: Runtime, fresh: str
) -> None:
    code = "import nothing_of_that_name\n" + HELLO
    # Nuclio waits this long for its container.
    posted = document(fresh, code, spec={"readinessTimeoutSeconds": 20})
    platform.request("POST", "/api/functions", json=posted)
    found = platform.wait_for_state(fresh, "error")
    assert found["status"]["message"]
    assert "externalInvocationUrls" not in found["status"]
    assert "internalInvocationUrls" not in found["status"]
    called = invoked(platform, fresh)
    assert (called.status_code, called.json()["error"]) == (500, NO_ADDRESS)


@embedded_only  # Nuclio's message is the end of the container's log
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_that_name\n" + HELLO, "No module named 'nothing_of_that_name'"),
        ("x = 1\n", "module 'main' has no callable 'handler'"),
        (
            "def init_context(c):\n    raise RuntimeError('no GPU')\n" + HELLO,
            "RuntimeError: no GPU",
        ),
        ("import os\nos._exit(5)\n", "worker 0 exited with status 5"),
    ],
)
def test_the_message_of_a_function_that_does_not_load_is_the_reason(
    platform: Runtime, fresh: str, code: str, message: str
) -> None:
    platform.request("POST", "/api/functions", json=document(fresh, code))
    assert message in platform.wait_for_state(fresh, "error")["status"]["message"]


@embedded_only
@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        ({}, "there is no code"),
        ({"functionSourceCode": "%%%"}, "is not base64"),
        ({"path": "relative/folder"}, "is not a folder of the runtime's machine"),
        ({"path": "data:application/zip;base64,bm8="}, "is not a zip or tar"),
    ],
)
def test_function_without_code_is_400_and_stores_nothing(
    platform: Runtime, fresh: str, build: dict[str, str], sentence: str
) -> None:
    posted = document(fresh, HELLO)
    posted["spec"]["build"] = build
    answer = platform.request("POST", "/api/functions", json=posted)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    assert platform.request("GET", f"/api/functions/{fresh}").status_code == 404


def test_patch_without_a_desired_state_does_nothing(platform: Runtime, hello: str) -> None:
    assert platform.request("PATCH", f"/api/functions/{hello}", json={}).status_code == 204
    wish = {"desiredState": "flying"}
    assert platform.request("PATCH", f"/api/functions/{hello}", json=wish).status_code == 400


@embedded_only
def test_logs_are_limited_to_the_last_lines_and_followed(
    platform: Runtime, hello: str, deploy: Deploy
) -> None:
    name = deploy("def handler(context, event):\n    print(event.body.decode())\n    return ''\n")
    replica = platform.request("GET", f"/api/functions/{name}/replicas").json()["names"][0]
    path = f"/api/functions/{name}/logs/{replica}"
    platform.call(name, data=b"first")
    wait_for("the line in the log", lambda: platform.log(name), lambda text: "first" in text)
    tail = platform.request("GET", f"{path}?follow=false&tailLines=1").text
    assert tail.endswith("[output] first\n")
    assert tail.count("\n") == 1
    with requests.get(platform.url + f"{path}?tailLines=0", stream=True, timeout=60) as followed:
        platform.call(name, data=b"second")
        line = next(followed.iter_lines())
    assert line.endswith(b"[output] second")
    assert platform.request("GET", f"/api/functions/{hello}/logs/other").status_code == 400


@embedded_only
def test_slow_follower_of_a_log_gets_every_line(deploy: Deploy, platform: Runtime) -> None:
    """Lines that are written while the first ones are sent must arrive, too."""
    code = (
        "def handler(context, event):\n"
        "    for number in range(event.body['lines']):\n"
        "        context.logger.info('x' * 15000)\n"
        "    context.logger.info('the last')\n"
        "    return ''\n"
    )
    name = deploy(code)
    replica = platform.request("GET", f"/api/functions/{name}/replicas").json()["names"][0]
    platform.call(name, {"lines": 730})  # more than the socket buffers hold
    wait_for("the line in the log", lambda: platform.log(name), lambda text: "the last" in text)
    url = f"{platform.url}/api/functions/{name}/logs/{replica}"
    with requests.get(url, stream=True, timeout=20) as followed:
        platform.call(name, {"lines": 0})
        records = (line for line in followed.iter_lines(2**20) if b"the last" in line)
        assert next(records) != next(records)


@embedded_only
def test_logs_are_limited_to_the_records_since_a_time(deploy: Deploy, platform: Runtime) -> None:
    code = (
        "def handler(context, event):\n"
        "    context.logger.info(event.body.decode())\n"
        "    return ''\n"
    )
    name = deploy(code)
    replica = platform.request("GET", f"/api/functions/{name}/replicas").json()["names"][0]
    path = f"/api/functions/{name}/logs/{replica}?follow=false"
    platform.call(name, data=b"a record")
    wait_for("the line in the log", lambda: platform.log(name), lambda text: "a record" in text)
    assert "a record" in platform.request("GET", f"{path}&since=1h").text
    assert platform.request("GET", f"{path}&since=0.000001s").text == ""
    assert platform.request("GET", f"{path}&since=yesterday").status_code == 400


@embedded_only
def test_follower_of_a_log_may_disconnect(deploy: Deploy, platform: Runtime) -> None:
    name = deploy("def handler(context, event):\n    print('x')\n    return ''\n")
    replica = platform.request("GET", f"/api/functions/{name}/replicas").json()["names"][0]
    url, said = (
        f"{platform.url}/api/functions/{name}/logs/{replica}?tailLines=0",
        len(platform.output),
    )
    for _ in range(3):
        requests.get(url, stream=True, timeout=60).close()
    for _ in range(5):  # lines for disconnected followers
        platform.call(name)
        threading.Event().wait(0.3)
    assert platform.output[said:] == []


def test_projects_are_created_listed_and_deleted(platform: Runtime) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    body = {"metadata": {"name": name}, "spec": {"description": "for a test"}}
    made = platform.request("POST", "/api/projects", json=body)
    assert (made.status_code, made.json()["metadata"]["name"]) == (201, name)
    listed = platform.request("GET", "/api/projects").json()
    assert {"default", name} <= set(listed)
    assert platform.request("DELETE", "/api/projects", json=body).status_code == 204
    assert platform.request("GET", f"/api/projects/{name}").status_code == 404


def test_default_project_can_be_created_again(platform: Runtime) -> None:
    body = {"metadata": {"name": "default"}, "spec": {}}
    assert platform.request("POST", "/api/projects", json=body).status_code == 201


def test_a_project_is_changed_under_its_name(platform: Runtime) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    body = {"metadata": {"name": name}, "spec": {"description": "before"}}
    assert platform.request("POST", "/api/projects", json=body).status_code == 201
    for path, metadata, status in (
        (f"/api/projects/{name}", {"name": name}, 204),
        (f"/api/projects/{name}", {}, 400),  # the body must name it
        (f"/api/projects/{name}", {"name": "default"}, 400),
        ("/api/projects", {"name": name}, 204),  # as before Nuclio 1.14
    ):
        said = f"for {status} at {path}"
        change = {"metadata": metadata, "spec": {"description": said}}
        assert platform.request("PUT", path, json=change).status_code == status
        if status == 204:
            found = platform.request("GET", f"/api/projects/{name}").json()
            assert found["spec"]["description"] == said
    assert platform.request("DELETE", "/api/projects", json=body).status_code == 204


def test_a_project_is_exported_with_its_functions(platform: Runtime, hello: str) -> None:
    found = platform.request("GET", "/api/projects/default?export=true").json()
    assert set(found) == {"project", "functions", "functionEvents", "apiGateways"}
    assert found["project"]["metadata"]["name"] == "default"
    assert "namespace" not in found["project"]["metadata"]
    assert found["functions"][hello]["spec"]["eventTimeout"] == "7s"
    assert "status" not in found["functions"][hello]
    headers = {"x-nuclio-project-name": "default"}
    listed = platform.request("GET", "/api/projects?export=true", headers=headers).json()
    assert set(listed) == {"default"}
    assert hello in listed["default"]["functions"]


def test_platform_routes_return_addresses_and_defaults(platform: Runtime) -> None:
    told = platform.request("GET", "/api/external_ip_addresses").json()
    addresses = told["externalIPAddresses"]["addresses"]
    spec = platform.request("GET", "/api/frontend_spec").json()
    assert spec["externalIPAddresses"] == addresses
    assert isinstance(addresses[0], str)
    default = spec["defaultFunctionConfig"]["attributes"]["spec"]
    assert default["triggers"]["http"]["workerAvailabilityTimeoutMilliseconds"] == 10_000
    assert spec["platformKind"] in ("local", "kube")


def test_project_with_functions_cannot_be_deleted(platform: Runtime, hello: str) -> None:
    body = {"metadata": {"name": "default"}}
    assert platform.request("DELETE", "/api/projects", json=body).status_code == 412


def test_versions_route_answers_as_health_check(platform: Runtime) -> None:
    assert "label" in platform.request("GET", "/api/versions").json()["dashboard"]


@embedded_only
def test_metrics_count_calls_and_true_durations(platform: Runtime, deploy: Deploy) -> None:
    name = deploy("import time\ndef handler(context, event):\n    time.sleep(0.1)\n    return ''\n")
    for _ in range(3):
        platform.call(name)
    text = platform.request("GET", "/metrics").text
    labels = f'function="{name}",namespace="nuclio",trigger_kind="http",trigger_id="http"'
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    prefix = "nuclio_processor"
    assert rows[f'{prefix}_handled_events_total{{{labels},result="success"}}'] == "3"
    assert rows[f"{prefix}_worker_allocation_count{{{labels}}}"] == "3"
    spent = float(
        rows[f'{prefix}_handled_events_duration_milliseconds_sum{{{labels},worker_index="0"}}']
    )
    assert 300 <= spent < 60_000
    assert rows[f'cvat_lambda_runtime_function_state{{function="{name}",state="ready"}}'] == "1"


@embedded_only
def test_source_with_windows_line_ends_runs(platform: Runtime, fresh: str) -> None:
    posted = document(fresh, HELLO)
    code = HELLO.replace("\n", "\r\n").encode()
    posted["spec"]["build"]["functionSourceCode"] = base64.b64encode(code).decode()
    platform.request("POST", "/api/functions", json=posted)
    platform.wait_for_state(fresh)
    assert platform.call(fresh).text == "hello"
