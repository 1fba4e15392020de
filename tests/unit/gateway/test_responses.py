"""Every rule that turns a response into a typed error."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cvat_lambda.errors import (
    EmbeddingUnknown,
    FunctionAnswerInvalid,
    FunctionBusy,
    FunctionCrashed,
    FunctionFailed,
    FunctionNotFound,
    FunctionRejected,
    FunctionStateUnknown,
    FunctionTimeout,
    FunctionUnavailable,
    LambdaError,
    PayloadTooLarge,
    PlatformUnreachable,
)
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway import http
from cvat_lambda.gateway.clean_text import clean_line
from cvat_lambda.gateway.error_rules import (
    ERROR_RULES,
    AddressMissing,
    HandlerUnavailable,
    ProxyTimeout,
)
from cvat_lambda.gateway.responses import TRANSPORT, facts_of, parse_answer, read_answer, translate

SPEC = FunctionSpec(id="fn", kind=Kind.DETECTOR, name="Fn", max_body_bytes=4_000_000)
TRACE = (
    'Exception caught in handler - "no \\"box\\" at http://10.0.0.3:8080/x": '
    'Traceback (most recent call last):\n  File "/opt/nuclio/main.py", line 3, in handler'
)


def dashboard(text: str) -> str:
    return json.dumps({"error": f"Failed to invoke function: {text}"})


def answer(status: int, body: str = "", **headers: str) -> http.Answer:
    return http.Answer(status=status, headers=headers, body=body.encode())


DASHBOARD_ROWS = [
    (404, dashboard("Function not found: fn @ nuclio"), FunctionNotFound),
    (500, dashboard("Invocation URL is required"), AddressMissing),
    (500, dashboard("Post 'http://10.0.0.3:8080/': dial tcp: connection refused"),
     PlatformUnreachable),
    (500, dashboard("Post 'http://x': dial tcp: lookup nuclio-fn: no such host"),
     PlatformUnreachable),
    (500, dashboard("Post 'http://x': context deadline exceeded"), FunctionTimeout),
    (500, dashboard("Post 'http://x': EOF"), FunctionCrashed),
    (500, dashboard("read tcp 10.0.0.1: connection reset by peer"), FunctionCrashed),
    (400, dashboard("Invalid function url http://x"), FunctionUnavailable),
    (500, '{"error": "Failed to invoke function: Post "http://x": EOF"}', FunctionCrashed),
]  # fmt: skip

ANSWER_ROWS = [
    (503, "", FunctionBusy),
    (429, "", FunctionBusy),
    (503, "Service Unavailable", FunctionBusy),  # of a proxy
    (502, "Bad Gateway", FunctionUnavailable),
    (503, "upstream connect error or disconnect/reset before headers", FunctionBusy),
    (502, "the model server refused the picture", HandlerUnavailable),
    (503, '{"message": "the model is being loaded"}', HandlerUnavailable),
    (502, "Worker crashed - exit code 9", FunctionCrashed),
    (503, '{"error":"Server not ready"}', FunctionUnavailable),
    (500, "Processor not ready (current status: stopped)", FunctionUnavailable),
    (500, "Can't encode item", FunctionUnavailable),
    (500, TRACE, FunctionFailed),
    (500, "EOF", FunctionCrashed),
    (500, "Client disconnected", FunctionCrashed),
    (408, '{"error": "handler timed out"}', FunctionTimeout),
    (504, "<html>504 Gateway Time-out</html>", ProxyTimeout),
    (502, "<html>502 Bad Gateway</html>", FunctionUnavailable),
    (400, "Error when parsing request", PayloadTooLarge),
    (413, "<html>too large</html>", PayloadTooLarge),
    (431, "Too big request header", PayloadTooLarge),
    (401, "", FunctionUnavailable),
    (403, "", FunctionUnavailable),
    (410, "", FunctionRejected),
    (410, '{"code": "state_unknown"}', FunctionRejected),
    (410, '{"code": "embedding_unknown"}', FunctionRejected),
    (500, '{"code": "state_unknown"}', FunctionFailed),
    (422, "at least one point is needed", FunctionRejected),
    (404, "no such model", FunctionRejected),
    (500, "something else", FunctionFailed),
    (302, "", FunctionAnswerInvalid),
    (200, "", FunctionAnswerInvalid),  # a batch that timed out, CORS without an Origin
    (204, "", FunctionAnswerInvalid),
]


# What only functions of one kind may answer: it is of something that only they are sent.
KIND_ROWS = [
    (Kind.TRACKER, 410, "", FunctionStateUnknown),
    (Kind.TRACKER, 500, '{"code": "state_unknown"}', FunctionStateUnknown),
    (Kind.TRACKER, 500, '{"code": "embedding_unknown"}', FunctionFailed),
    (Kind.INTERACTOR, 410, '{"code": "embedding_unknown"}', EmbeddingUnknown),
    (Kind.INTERACTOR, 500, '{"code": "embedding_unknown"}', EmbeddingUnknown),
    (Kind.INTERACTOR, 410, "", FunctionRejected),
    (Kind.REID, 410, "", FunctionRejected),
]


@pytest.mark.parametrize(("status", "body", "error"), DASHBOARD_ROWS)
def test_error_of_the_dashboard_is_typed(status: int, body: str, error: type[LambdaError]) -> None:
    with pytest.raises(error) as caught:
        read_answer(SPEC, answer(status, body), sent_bytes=10, platform=True)
    assert type(caught.value) is error
    assert "http" not in caught.value.message
    assert "10.0.0" not in caught.value.message


@pytest.mark.parametrize("platform", [True, False])
@pytest.mark.parametrize(("status", "body", "error"), ANSWER_ROWS)
def test_error_of_a_function_or_a_proxy_is_typed(
    status: int, body: str, error: type[LambdaError], platform: bool
) -> None:
    with pytest.raises(error) as caught:
        read_answer(SPEC, answer(status, body), sent_bytes=10, platform=platform)
    assert type(caught.value) is error
    assert "'fn'" in caught.value.message


@pytest.mark.parametrize(("kind", "status", "body", "error"), KIND_ROWS)
def test_unknown_states_and_embeddings_are_errors_of_the_functions_that_have_them(
    kind: Kind, status: int, body: str, error: type[LambdaError]
) -> None:
    spec = replace(SPEC, kind=kind)
    with pytest.raises(error) as caught:
        read_answer(spec, answer(status, body), sent_bytes=10, platform=False)
    assert type(caught.value) is error


def test_every_rule_fits_a_case_above() -> None:
    met = set()
    of_detectors = ((DASHBOARD_ROWS, True), (ANSWER_ROWS, False))
    tables = [(Kind.DETECTOR, *row, platform) for rows, platform in of_detectors for row in rows]
    tables += [(*row, False) for row in KIND_ROWS]
    for kind, status, body, _, platform in tables:
        spec = replace(SPEC, kind=kind)
        facts = facts_of(spec, answer(status, body), sent_bytes=1, platform=platform)
        met.add(next(row.name for row in ERROR_RULES if row.fits(facts)))
    assert met == {row.name for row in ERROR_RULES}


def test_function_that_imitates_the_dashboard_has_failed() -> None:
    with pytest.raises(FunctionFailed):
        read_answer(
            SPEC,
            answer(500, dashboard("Invocation URL is required")),
            sent_bytes=1,
            platform=False,
        )


def test_message_of_an_exception_has_no_address_and_no_traceback() -> None:
    with pytest.raises(FunctionFailed) as caught:
        read_answer(SPEC, answer(500, TRACE), sent_bytes=1, platform=False)
    assert caught.value.message == "function 'fn' failed: no \\\"box\\\" at …"


def test_error_of_a_large_body_names_both_sizes() -> None:
    with pytest.raises(PayloadTooLarge, match=r"at most 4\.0 MB in one call, this one has 5\.3 MB"):
        read_answer(SPEC, answer(413), sent_bytes=5_300_000, platform=False)


def test_busy_function_keeps_its_retry_after() -> None:
    with pytest.raises(FunctionBusy) as caught:
        read_answer(SPEC, answer(503, **{"retry-after": "7"}), sent_bytes=1, platform=False)
    assert caught.value.details == {"retry_after_s": 7.0}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("at least one point is needed", "refused the input: at least one point is needed"),
        ('{"message": "no box"}', "refused the input: no box"),
        ('{"error": "no box"}', "refused the input: no box"),
        ('"no box"', "refused the input: no box"),
        ("<html>page of a proxy</html>", "refused the input with status 422"),
        ("", "refused the input with status 422"),
    ],
)
def test_refusal_of_a_function_keeps_its_message(body: str, message: str) -> None:
    with pytest.raises(FunctionRejected) as caught:
        read_answer(SPEC, answer(422, body), sent_bytes=1, platform=False)
    assert caught.value.message == f"function 'fn' {message}"
    assert caught.value.status_code == 422


@pytest.mark.parametrize(
    ("body", "objects"),
    [
        ('{"code": "state_unknown", "objects": [0, 2]}', [0, 2]),
        ('{"code": "state_unknown", "objects": "all"}', None),
        ("the state was evicted", None),
    ],
)
def test_unknown_tracker_states_keep_the_indices_of_their_objects(
    body: str, objects: list[int] | None
) -> None:
    tracker = replace(SPEC, kind=Kind.TRACKER)
    with pytest.raises(FunctionStateUnknown) as caught:
        read_answer(tracker, answer(410, body), sent_bytes=1, platform=False)
    assert caught.value.details.get("objects") == objects


def test_wrong_credentials_are_permanent() -> None:
    with pytest.raises(FunctionUnavailable) as caught:
        read_answer(SPEC, answer(401), sent_bytes=1, platform=False)
    assert caught.value.permanent
    assert not FunctionUnavailable().permanent


def test_json_is_parsed_with_any_content_type() -> None:
    given = answer(200, "[1, 2]", **{"content-type": "text/plain"})
    assert read_answer(SPEC, given, sent_bytes=1, platform=True) == [1, 2]


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[Infinity]",
        b'{"a": -Infinity}',
        b"[1,",
        b"None",
        b"[[1.0, 2.0]",
        b"\xff\xfe\x00",
        b"[" * 100000,
        b"1" * 10000,
    ],
)
def test_answer_that_is_not_strict_json_is_invalid(body: bytes) -> None:
    with pytest.raises(FunctionAnswerInvalid, match="function 'fn': the answer is not valid JSON"):
        parse_answer("fn", body)


def test_constant_that_json_does_not_have_is_named() -> None:
    with pytest.raises(FunctionAnswerInvalid, match="it holds NaN"):
        parse_answer("fn", b'[{"confidence": NaN}]')


def test_every_transport_error_has_a_typed_error() -> None:
    """A new TransportError needs a rule in the table."""
    classes = {
        thing
        for thing in vars(http).values()
        if isinstance(thing, type)
        and issubclass(thing, http.TransportError)
        and thing is not http.TransportError
    }
    assert classes == set(TRANSPORT)
    for thing in classes:
        error = translate("fn", thing("10.0.0.3:8080: refused"))
        assert "10.0.0.3" not in error.message
        assert error.message.startswith("function 'fn' ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n first \nsecond", "first"),
        ("see http://user:pw@host:1/x now", "see … now"),
        ("at 10.1.2.3:8080 and [::1]:80", "at … and …"),
        ("no nuclio-fn.ns.svc.cluster.local:8080", "no …"),
        ("cannot open /opt/nuclio/model.onnx", "cannot open …"),
        ("a/b ratio is 3/4", "a/b ratio is 3/4"),
        ("x" * 400, "x" * 299 + "…"),
        ("\x1b[31mred", "[31mred"),
    ],
)
def test_message_of_a_function_is_shown_without_addresses_and_control_characters(
    text: str, line: str
) -> None:
    assert clean_line(text) == line


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, ""), (429, ""), (503, '{"error":"Server not ready"}'), (502, "<html>"), (504, "")],
)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        # a date is relative to the answer's Date header
        (
            {
                "retry-after": "Wed, 21 Oct 2099 07:28:30 GMT",
                "date": "Wed, 21 Oct 2099 07:28:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_if_the_function_did_not_run(
    status: int, body: str, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(LambdaError) as caught:
        read_answer(SPEC, answer(status, body, **headers), sent_bytes=1, platform=False)
    assert caught.value.details.get("retry_after_s") == seconds
