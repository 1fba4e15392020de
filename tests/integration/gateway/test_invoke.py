"""One invocation, from a spec to a parsed answer, against a fake platform over HTTP."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from cvat_lambda import signals
from cvat_lambda.errors import (
    FunctionCrashed,
    FunctionFailed,
    FunctionUnavailable,
    PayloadTooLarge,
    PlatformUnreachable,
)
from cvat_lambda.functions.spec import Address, FunctionSpec, Kind
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.invoke import invoke
from cvat_lambda.gateway.nuclio import platform
from cvat_lambda.gateway.routes import direct_routes
from tests.http_server import Reply, hangs, resets
from tests.ports import closed_port

from .fake_nuclio import FakeNuclio, fake_nuclio, function_object


def spec_at(port: int | None, **changes: Any) -> FunctionSpec:
    address = Address(namespace="nuclio", http_port=port)
    spec = FunctionSpec(id="fn", kind=Kind.DETECTOR, name="Fn", address=address)
    return replace(spec, **changes)


def test_auto_calls_a_reachable_function_directly(nuclio: FakeNuclio) -> None:
    nuclio.default = [{"label": "car"}]
    with fake_nuclio() as function:
        function.default = [{"label": "dog"}]
        assert invoke(spec_at(function.port), b'{"a":1}', request_id="r1") == [{"label": "dog"}]
        (seen,) = function.seen
    assert nuclio.seen == []
    assert (seen.path, seen.body) == ("/", b'{"a":1}')
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-nuclio-target"] == "fn"
    assert seen.headers["x-request-id"] == "r1"
    assert "origin" not in seen.headers
    assert "x-nuclio-function-name" not in seen.headers


def test_auto_calls_through_the_dashboard_if_no_address_answers(nuclio: FakeNuclio) -> None:
    assert invoke(spec_at(closed_port(), timeout_s=30.0), b"{}", request_id="r1") == []
    (seen,) = nuclio.invocations()
    assert seen.path == "/api/function_invocations"
    assert seen.headers["x-nuclio-function-name"] == "fn"
    assert seen.headers["x-nuclio-function-namespace"] == "nuclio"
    assert (
        seen.headers["x-nuclio-invoke-timeout"] == "45s"
    )  # 30 s event timeout, 10 s wait for a worker, margin


def test_invoke_method_dashboard_never_calls_directly(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = "dashboard"
    with fake_nuclio() as function:
        invoke(spec_at(function.port), b"{}", request_id="r1")
        assert function.seen == []
    assert len(nuclio.invocations()) == 1


def test_invoke_method_direct_never_calls_through_the_dashboard(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = "direct"
    nuclio.functions["fn"] = function_object("fn")
    with pytest.raises(PlatformUnreachable, match="cannot be reached directly"):
        invoke(spec_at(closed_port()), b"{}", request_id="r1")
    assert nuclio.invocations() == []


def test_platform_token_is_sent_to_the_platforms_host_only(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_PLATFORM_TOKEN = "secret"
    invoke(spec_at(None), b"{}", request_id="r1")
    assert nuclio.seen[0].headers["authorization"] == "Bearer secret"
    foreign = Address(internal_urls=("fn.example:8080",))
    assert [route.headers for route in direct_routes("fn", foreign, platform())] == [()]


def test_token_of_an_https_platform_is_never_sent_in_clear_text(settings: Settings) -> None:
    settings.CVAT_LAMBDA_PLATFORM_TOKEN = "secret"
    with fake_nuclio() as function:
        settings.CVAT_LAMBDA_PLATFORM_URL = f"https://127.0.0.1:{closed_port()}"
        spec = spec_at(function.port)
        route = get_gateway().routes.find(spec)  # auto: through the dashboard only
        assert (route.server.scheme, route.through_dashboard) == ("https", True)
        assert ("Authorization", "Bearer secret") in route.headers
        settings.CVAT_LAMBDA_INVOKE_METHOD = "direct"  # direct: plain HTTP without the token
        assert invoke(spec, b"{}", request_id="r1") == []
        (seen,) = function.seen
        assert "authorization" not in seen.headers
    get_gateway().reset()


def test_malformed_platform_url_raises_a_typed_error(settings: Settings) -> None:
    settings.CVAT_LAMBDA_PLATFORM_URL = "http://[::1"
    with pytest.raises(PlatformUnreachable, match="PLATFORM_URL is malformed"):
        invoke(spec_at(closed_port()), b"{}", request_id="r1")


def test_outdated_address_is_read_again_within_the_call(
    nuclio: FakeNuclio,
) -> None:
    with fake_nuclio() as before:
        spec = spec_at(before.port)
        invoke(spec, b"{}", request_id="r1")
    with fake_nuclio() as after:  # after a restart the port is another one than in the registry
        raw = function_object("fn")
        raw["status"]["httpPort"] = after.port
        nuclio.functions["fn"] = raw
        after.default = ["moved"]
        assert invoke(spec, b"{}", request_id="r2") == ["moved"]
        assert invoke(spec, b"{}", request_id="r3") == ["moved"]
    assert [seen.path for seen in nuclio.seen] == ["/api/functions/fn"]


def test_function_that_is_being_rebuilt_is_unavailable(nuclio: FakeNuclio) -> None:
    with fake_nuclio() as before:
        spec = spec_at(before.port)
        invoke(spec, b"{}", request_id="r1")
    nuclio.functions["fn"] = {**function_object("fn"), "status": {"state": "building"}}
    with pytest.raises(FunctionUnavailable, match="function 'fn' is being built"):
        invoke(spec, b"{}", request_id="r2")


def test_function_and_platform_that_do_not_answer_are_unreachable(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(PlatformUnreachable, match="function 'fn' cannot be reached"):
        invoke(spec_at(closed_port()), b"{}", request_id="r1")


def test_body_above_the_limit_is_not_sent(nuclio: FakeNuclio) -> None:
    spec = spec_at(None, max_body_bytes=1_000_000)
    with pytest.raises(PayloadTooLarge, match=r"at most 1\.0 MB .* has 1\.5 MB"):
        invoke(spec, b"x" * 1_500_000, request_id="r1")
    assert nuclio.seen == []


def test_invoke_does_not_retry_after_a_crash(nuclio: FakeNuclio) -> None:
    nuclio.script = [resets]
    with pytest.raises(FunctionCrashed):
        invoke(spec_at(None), b"{}", request_id="r1")
    assert len(nuclio.invocations()) == 1


def test_invocation_sends_its_signal(nuclio: FakeNuclio) -> None:
    told: list[dict[str, Any]] = []

    def listen(sender: object, **kwargs: Any) -> None:
        told.append(kwargs)

    signals.function_invoked.connect(listen)
    try:
        invoke(spec_at(None), b"{}", request_id="r1")
        nuclio.script = [Reply(500, 'Exception caught in handler - "no"')]
        with pytest.raises(FunctionFailed):
            invoke(spec_at(None), b"{}", request_id="r2")
    finally:
        signals.function_invoked.disconnect(listen)
    assert [item["function_id"] for item in told] == ["fn", "fn"]
    assert [type(item["error"]) for item in told] == [type(None), FunctionFailed]
    assert all(item["duration_s"] > 0 for item in told)


def test_one_token_cancels_all_calls_of_a_request(nuclio: FakeNuclio) -> None:
    cancel = CancelToken()
    nuclio.script = [hangs] * 4
    ends: list[str] = []

    def call() -> None:
        try:
            invoke(spec_at(None), b"{}", request_id="r", cancel=cancel)
        except Cancelled:
            ends.append("abandoned")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    nuclio.arrived.wait(180)
    cancel.cancel()
    for thread in threads:
        thread.join(180)
    assert ends == ["abandoned"] * 4


HTTP_PORT = 32001


@pytest.mark.parametrize(
    ("dashboard", "address", "expected"),
    [
        # all on this machine
        ("127.0.0.1", Address(http_port=HTTP_PORT), [("127.0.0.1", HTTP_PORT, "/")]),
        # Docker reports 0.0.0.0 if it does not know its host
        (
            "10.0.0.5",
            Address(external_urls=("0.0.0.0:32001",)),
            [("10.0.0.5", 32001, "/")],
        ),
        # Docker: the container's name, then the published port, the bare address last
        (
            "nuclio",
            Address(
                namespace="nuclio",
                http_port=HTTP_PORT,
                internal_urls=("172.18.0.5:8080",),
                external_urls=("0.0.0.0:32001",),
            ),
            [
                ("nuclio-nuclio-fn", 8080, "/"),
                ("nuclio", HTTP_PORT, "/"),
                ("172.18.0.5", 8080, "/"),
            ],
        ),
        # Kubernetes: the service, then the ingress
        (
            "nuclio-dashboard.nuclio.svc",
            Address(
                internal_urls=("nuclio-fn.nuclio.svc.cluster.local:8080",),
                external_urls=("functions.example.org/fn",),
            ),
            [
                ("nuclio-fn.nuclio.svc.cluster.local", 8080, "/"),
                ("functions.example.org", 80, "/fn"),
            ],
        ),
        # the loopback address of another machine is not used
        (
            "gpu.example.org",
            Address(
                http_port=HTTP_PORT,
                internal_urls=("127.0.0.1:32001", "localhost:32001", "[::1]:32001"),
                external_urls=("0.0.0.0:32001",),
            ),
            [("gpu.example.org", HTTP_PORT, "/")],
        ),
        ("127.0.0.1", Address(), []),
        ("127.0.0.1", Address(external_urls=("host:port", "[::1")), []),
    ],
)
def test_direct_addresses_are_tried_in_order_of_reliability(
    settings: Settings, dashboard: str, address: Address, expected: list[tuple[str, int, str]]
) -> None:
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://{dashboard}:8070"
    found = [
        (route.server.host, route.server.port, route.path)
        for route in direct_routes("fn", address, platform())
    ]
    assert found == expected


def test_route_follows_the_registrys_address(nuclio: FakeNuclio) -> None:
    with fake_nuclio() as first, fake_nuclio() as second:
        assert get_gateway().routes.find(spec_at(first.port)).server.port == first.port
        assert get_gateway().routes.find(spec_at(second.port)).server.port == second.port


def test_deploy_and_remove_use_nuclios_api(nuclio: FakeNuclio) -> None:
    platform().deploy(function_object("fn"))
    platform().remove("fn")
    put, delete = nuclio.seen
    assert (put.method, put.path) == ("PUT", "/api/functions/fn")
    assert put.headers["x-nuclio-project-name"] == "cvat"
    assert (delete.method, delete.path) == ("DELETE", "/api/functions")
    assert json.loads(delete.body) == {"metadata": {"name": "fn", "namespace": "nuclio"}}
