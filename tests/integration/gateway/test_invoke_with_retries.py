"""Invocations with retries against a fake platform over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from pytest_django import Settings

from cvat_lambda.errors import (
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionNotFound,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PlatformUnreachable,
)
from cvat_lambda.functions.spec import Address, FunctionSpec, Kind
from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.gateway.error_rules import HandlerUnavailable
from cvat_lambda.gateway.invoke import interactive_time_limit_s
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.retry import RetryPolicy
from tests.http_server import Answer, Connection, Reply, hangs, json_reply, resets

from .fake_nuclio import FakeNuclio, fake_nuclio, function_object

SPEC = FunctionSpec(id="fn", kind=Kind.DETECTOR, name="Fn")
NO_ADDRESS = Reply(500, '{"error": "Failed to invoke function: Invocation URL is required"}')
RESTARTING = Reply(500, "Processor not ready (current status: stopped)")


def at_once(low: float, high: float) -> float:
    return 0.0


def policy(*, max_attempts: int = 5, budget_s: float = 30.0) -> RetryPolicy:
    return RetryPolicy(max_attempts=max_attempts, budget_s=budget_s, jitter=at_once)


@pytest.mark.parametrize(
    ("script", "attempts"),
    [
        ([], 1),
        # an invocation that did not run uses no attempt
        ([Reply(503)], 1),
        ([Reply(503)] * 7, 1),
        ([RESTARTING, RESTARTING], 1),
        ([resets], 2),
        ([Reply(408, '{"error": "handler timed out"}')], 2),
        ([Reply(502, "Worker crashed - exit code 9"), Reply(503)], 2),
        ([Reply(504, "<html>")], 2),
    ],
)
def test_temporary_failure_is_retried(
    nuclio: FakeNuclio, script: list[Answer], attempts: int
) -> None:
    nuclio.script = list(script)
    nuclio.default = ["ok"]
    called = invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy().start())
    assert (called.answer, called.attempts) == (["ok"], attempts)


@pytest.mark.parametrize(
    ("script", "error", "attempts"),
    [
        ([resets] * 9, FunctionCrashed, 2),
        ([Reply(408)] * 9, FunctionTimeout, 2),
        ([Reply(502, "the model server has no answer")] * 9, HandlerUnavailable, 3),
        ([Reply(500, 'Exception caught in handler - "no"')] * 9, FunctionFailed, 1),
    ],
)
def test_permanent_failure_is_given_up(
    nuclio: FakeNuclio, script: list[Answer], error: type[LambdaError], attempts: int
) -> None:
    nuclio.script = list(script)
    with pytest.raises(error) as caught:
        invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy().start())
    assert caught.value.details["attempts"] == attempts
    assert len(script) - len(nuclio.script) == len(nuclio.invocations())


@pytest.mark.parametrize(
    ("status", "error", "permanent", "sentence"),
    [
        ({"state": "error"}, FunctionUnavailable, True, "function 'fn' could not be deployed"),
        ({"state": "imported"}, FunctionUnavailable, True, "function 'fn' could not be deployed"),
        ({"state": "ready"}, FunctionUnavailable, True, "function 'fn' has no address"),
        (None, FunctionNotFound, True, "the platform has no function 'fn'"),
    ],
)
def test_function_without_an_address_that_is_not_being_built_is_given_up_at_once(
    nuclio: FakeNuclio,
    status: dict[str, str] | None,
    error: type[LambdaError],
    permanent: bool,
    sentence: str,
) -> None:
    if status is not None:
        nuclio.functions["fn"] = {**function_object("fn"), "status": status}
    nuclio.script = [NO_ADDRESS] * 30
    with pytest.raises(error) as caught:
        invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy(budget_s=120.0).start())
    assert caught.value.details["attempts"] == 1
    assert caught.value.permanent is permanent
    assert caught.value.message.startswith(sentence)


def test_background_call_waits_for_a_function_that_is_being_built(
    nuclio: FakeNuclio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.gateway.routes.REREAD_S", 3600.0)
    nuclio.functions["fn"] = {**function_object("fn"), "status": {"state": "building"}}
    nuclio.script = [NO_ADDRESS] * 5
    nuclio.default = ["built"]
    called = invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy().start())
    assert (called.answer, called.attempts) == (["built"], 1)
    reads = [seen.path for seen in nuclio.seen if seen.method == "GET"]
    assert reads == ["/api/functions/fn"]  # its state is not read for each invocation


def test_interactive_call_that_times_out_is_not_repeated_and_ends_near_its_limit(
    nuclio: FakeNuclio,
) -> None:
    spec = replace(SPEC, timeout_s=0.2, availability_timeout_s=0.0)
    nuclio.script = [Reply(408)] * 3
    with pytest.raises(FunctionTimeout):
        invoke_with_retries(spec, b"{}", request_id="r")
    assert len(nuclio.invocations()) == 1
    assert interactive_time_limit_s(replace(SPEC, timeout_s=30.0)) == 40.0


def test_interactive_call_of_a_function_that_is_being_built_is_answered_at_once(
    nuclio: FakeNuclio,
) -> None:
    nuclio.functions["fn"] = {**function_object("fn"), "status": {"state": "building"}}
    nuclio.script = [NO_ADDRESS] * 9
    with pytest.raises(FunctionUnavailable, match="function 'fn' is being built"):
        invoke_with_retries(SPEC, b"{}", request_id="r")
    assert len(nuclio.invocations()) == 1


def test_answer_has_the_revision_of_the_function(nuclio: FakeNuclio) -> None:
    nuclio.script = [Reply(200, "[]", headers={"X-Cvat-Lambda-Revision": "new"})]
    spec = replace(SPEC, revision="old")
    assert invoke_with_retries(spec, b"{}", request_id="r").revision == "new"
    nuclio.script = [Reply(200, "[]")]
    assert invoke_with_retries(spec, b"{}", request_id="r").revision == "old"


def test_deadline_ends_the_retries(nuclio: FakeNuclio) -> None:
    nuclio.script = [Reply(503, headers={"Retry-After": "20"})] * 3
    with pytest.raises(FunctionBusy):
        invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy().start(), deadline_s=10)
    assert len(nuclio.invocations()) == 1


def test_deadline_ends_an_attempt(nuclio: FakeNuclio) -> None:
    nuclio.script = [hangs]
    with pytest.raises(FunctionTimeout):
        invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy().start(), deadline_s=0.3)


def test_cancel_ends_the_pause_between_retries(nuclio: FakeNuclio) -> None:
    cancel = CancelToken()
    nuclio.script = [Reply(503, headers={"Retry-After": "25"})]

    def abandon() -> None:
        nuclio.arrived.wait(180)
        cancel.cancel()

    thread = threading.Thread(target=abandon)
    thread.start()
    with pytest.raises(Cancelled):
        invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy().start(), cancel=cancel)
    thread.join()


def test_invocations_in_flight_do_not_exceed_the_limit(nuclio: FakeNuclio) -> None:
    spec = replace(SPEC, id="narrow", workers=1)
    lock = threading.Lock()
    inside, most = 0, 0

    def measured(connection: Connection) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1
        connection.reply(json_reply([]))

    nuclio.script = [measured] * 40

    def work(make: Callable[[], object]) -> None:
        for _ in range(5):
            make()

    threads = [
        threading.Thread(
            target=work,
            args=(
                lambda: invoke_with_retries(
                    spec, b"{}", request_id="r", retries=policy().start(), interactive=False
                ),
            ),
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert nuclio.script == []
    assert most <= 3


def test_direct_route_is_found_after_function_and_platform_were_down(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = "direct"  # CVAT's setting outside Kubernetes
    with fake_nuclio() as before:
        spec = replace(SPEC, address=Address(namespace="nuclio", http_port=before.port))
        invoke_with_retries(spec, b"{}", request_id="r1")
    nuclio.is_down = True
    for words in ("'fn' cannot be reached", "the function platform does not answer"):
        with pytest.raises(PlatformUnreachable, match=words):
            invoke_with_retries(spec, b"{}", request_id="r2", retries=policy(budget_s=0.0).start())
    with fake_nuclio() as after:  # both are up again, the function on another port
        raw = function_object("fn")
        raw["status"]["httpPort"] = after.port
        nuclio.functions["fn"], nuclio.is_down = raw, False
        after.default = ["moved"]
        # A background request keeps the spec of its start, which has the old address.
        retries = RetryPolicy(max_attempts=5, budget_s=30.0).start()
        assert invoke_with_retries(spec, b"{}", request_id="r3", retries=retries).answer == [
            "moved"
        ]
    assert nuclio.invocations() == []


def test_direct_call_of_a_missing_function_is_temporarily_unavailable(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = "direct"
    with pytest.raises(FunctionUnavailable, match="is not on its platform now") as caught:
        invoke_with_retries(SPEC, b"{}", request_id="r1", retries=policy(budget_s=0.0).start())
    assert not caught.value.permanent  # the function may be deployed again soon


@pytest.mark.parametrize(
    ("state", "words"), [("error", "could not be deployed"), ("building", "is being built")]
)
def test_error_of_a_function_that_does_not_start_has_the_message_of_its_build(
    nuclio: FakeNuclio, state: str, words: str
) -> None:
    message = "Failed to deploy. Details:\n\nno module named torch in http://10.0.0.7:8070\nstack"
    status = {"state": state, "message": message}
    nuclio.functions["fn"] = {**function_object("fn"), "status": status}
    nuclio.script = [NO_ADDRESS] * 30
    with pytest.raises(FunctionUnavailable) as caught:
        invoke_with_retries(SPEC, b"{}", request_id="r", retries=policy(budget_s=0.0).start())
    assert caught.value.message.startswith(f"function 'fn' {words}: no module named torch in …")
    assert "10.0.0.7" not in caught.value.message


@pytest.mark.parametrize(
    ("state", "words", "permanent"),
    [("error", "could not be deployed", True), ("building", "is being built", False)],
)
def test_direct_call_of_a_function_without_an_address_names_its_state(
    nuclio: FakeNuclio, settings: Settings, state: str, words: str, permanent: bool
) -> None:
    settings.CVAT_LAMBDA_INVOKE_METHOD = "direct"
    nuclio.functions["fn"] = {**function_object("fn"), "status": {"state": state}}
    with pytest.raises(FunctionUnavailable, match=words) as caught:
        invoke_with_retries(SPEC, b"{}", request_id="r1", retries=policy(budget_s=0.0).start())
    assert caught.value.permanent is permanent
