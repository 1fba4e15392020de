"""The registry against a platform that changes, fails and stops answering."""

from __future__ import annotations

import math
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda import signals
from cvat_lambda.errors import (
    FunctionNotFound,
    FunctionSpecInvalid,
    FunctionTimeout,
    PlatformUnreachable,
)
from cvat_lambda.functions import health, registry
from cvat_lambda.functions.background import refresh_quietly
from cvat_lambda.functions.models import NUCLIO, Function, PlatformCheck
from tests.ports import closed_port

from .fake_nuclio import FakeNuclio, function_object

pytestmark = pytest.mark.django_db


def test_first_list_reads_the_platform(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"b": function_object("b"), "a": function_object("a")}
    assert [(spec.id, spec.name, spec.state) for spec in registry.listed()] == [
        ("a", "A", "ready"),
        ("b", "B", "ready"),
    ]
    (seen,) = nuclio.seen
    assert seen.headers["x-nuclio-function-namespace"] == "nuclio"
    assert seen.headers["x-nuclio-project-name"] == "cvat"
    registry.listed()
    assert len(nuclio.seen) == 1


def test_first_list_is_complete_while_another_process_reads_the_platform(
    nuclio: FakeNuclio,
) -> None:
    nuclio.functions = {"a": function_object("a")}
    until = timezone.now() + timedelta(seconds=60)
    PlatformCheck.objects.create(pk="nuclio", claimed_until=until)
    assert [spec.id for spec in registry.listed()] == ["a"]


def test_first_look_up_of_a_function_reads_the_platform_while_another_process_does(
    nuclio: FakeNuclio,
) -> None:
    nuclio.functions = {"a": function_object("a")}
    until = timezone.now() + timedelta(seconds=60)
    PlatformCheck.objects.create(pk="nuclio", claimed_until=until)
    assert registry.get("a").id == "a"


@pytest.fixture
def asking(settings: Settings) -> None:
    """Let look-ups for interactive callers read the platform, without the background thread."""
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 3600


def test_function_that_is_being_built_is_found_by_the_first_look_up(
    nuclio: FakeNuclio, asking: None
) -> None:
    registry.refresh()
    building = {**function_object("new"), "status": {"state": "building"}}
    building["metadata"]["labels"] = {"nuclio.io/project-name": "cvat"}
    nuclio.functions["new"] = building
    assert registry.get("new", ask=registry.Ask.IF_NOT_READY).state == "building"


def test_function_of_another_project_is_not_found(nuclio: FakeNuclio, asking: None) -> None:
    registry.refresh()
    foreign = function_object("foreign")
    foreign["metadata"]["labels"] = {"nuclio.io/project-name": "other"}
    nuclio.functions["foreign"] = foreign
    with pytest.raises(FunctionNotFound):
        registry.get("foreign", ask=registry.Ask.ALWAYS)


def test_interactive_list_has_a_redeployed_function_at_once(
    nuclio: FakeNuclio, asking: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    PlatformCheck.objects.update(checked_at=timezone.now() - timedelta(seconds=2))
    nuclio.functions["a"] = function_object("a", name="Renamed")
    assert [spec.name for spec in registry.listed(ask=True)] == ["Renamed"]
    reads = len(nuclio.seen)
    monkeypatch.setattr(registry, "FRESH_S", 60.0)  # a second may pass on a busy machine
    registry.listed(ask=True)
    assert len(nuclio.seen) == reads


def test_interactive_look_up_finds_a_redeployed_function_at_once(
    nuclio: FakeNuclio, asking: None
) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    Function.objects.update(checked_at=timezone.now() - timedelta(seconds=2))
    nuclio.functions["a"] = function_object("a", name="Renamed")
    assert (
        registry.get("a", ask=registry.Ask.IF_NOT_READY).name == "A"
    )  # an invocation sends no request to the dashboard
    assert registry.get("a", ask=registry.Ask.ALWAYS).name == "Renamed"


def test_list_reads_the_metadata_of_changed_functions_only(nuclio: FakeNuclio) -> None:
    for name in ("a", "b", "c"):
        nuclio.functions[name] = function_object(name, name=name.upper())
    registry.refresh()
    assert [spec.name for spec in registry.listed()] == ["A", "B", "C"]
    with CaptureQueriesContext(connection) as queries:
        registry.listed()
    assert [query["sql"] for query in queries if "metadata" in query["sql"]] == []
    nuclio.functions["b"] = function_object("b", name="Renamed")
    registry.refresh(force=True)
    assert [spec.name for spec in registry.listed()] == ["A", "Renamed", "C"]


def test_look_ups_of_unknown_functions_send_a_bounded_number_of_requests(
    nuclio: FakeNuclio, asking: None
) -> None:
    registry.refresh()
    before, began = len(nuclio.seen), time.monotonic()
    for number in range(100):
        with pytest.raises(FunctionNotFound):
            registry.get(f"unknown-{number % 50}", ask=registry.Ask.ALWAYS)
    seconds = math.ceil(time.monotonic() - began)
    assert len(nuclio.seen) - before <= 32 * seconds


def test_look_ups_do_not_read_a_platform_that_was_down_just_before(
    nuclio: FakeNuclio, asking: None
) -> None:
    registry.refresh()
    nuclio.is_down = True
    for number in range(10):
        with pytest.raises(FunctionNotFound):
            registry.get(f"unknown-{number}", ask=registry.Ask.ALWAYS)
    nuclio.is_down = False
    nuclio.functions["unknown-9"] = function_object("unknown-9")
    with pytest.raises(FunctionNotFound):
        registry.get("unknown-9", ask=registry.Ask.ALWAYS)


def test_call_answered_by_another_revision_reads_the_function_again(
    nuclio: FakeNuclio,
) -> None:
    nuclio.functions = {"a": function_object("a", **{"cvat-lambda/revision": "old"})}
    registry.refresh()
    nuclio.functions["a"] = function_object("a", **{"cvat-lambda/revision": "new"})
    assert registry.get("a").revision == "old"
    registry.note_failure("a", health.RevisionChanged())
    assert registry.get("a").revision == "new"


def test_list_with_a_broken_function_still_has_the_others(nuclio: FakeNuclio) -> None:
    nuclio.functions = {
        "good": function_object("good"),
        "untyped": function_object("untyped", type=""),
        "no-annotations": {"metadata": {"name": "no-annotations"}, "spec": {}, "status": {}},
        "nul": function_object("nul", name="a\0b\ud800"),
        "misnamed": function_object("other"),
        "no object": 7,
        "no-json": function_object("no-json", spec="[{]"),
    }
    assert [spec.id for spec in registry.listed()] == ["good", "nul"]
    with pytest.raises(FunctionSpecInvalid, match=r"function 'no-json': .*not valid JSON"):
        registry.get("no-json")
    problems = dict(registry.rows().exclude(problem="").values_list("pk", "problem"))
    assert set(problems) == {"untyped", "no-annotations", "no-json"}
    assert "annotation 'type' is missing" in problems["no-annotations"]


def test_function_with_a_bad_label_works_and_its_row_names_the_label(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a", spec='[{"name": "car"}, {"name": "car"}]')}
    assert [label.name for label in registry.listed()[0].labels] == ["car"]
    assert "the label 'car' twice" in registry.rows().get(pk="a").message


def test_list_answers_while_the_platform_is_down(nuclio: FakeNuclio, settings: Settings) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://127.0.0.1:{closed_port()}"
    result = registry.refresh(force=True)
    assert result.error == "the function platform does not answer"
    assert [(spec.id, spec.state) for spec in registry.listed()] == [("a", "ready")]
    assert registry.get("a").id == "a"


def test_list_raises_if_the_platform_has_never_answered(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://127.0.0.1:{closed_port()}"
    for _ in range(2):  # the second look-up does not read the platform again
        with pytest.raises(PlatformUnreachable, match="the function platform does not answer"):
            registry.listed()


@pytest.mark.parametrize("status", [500, 404, 302])
def test_platform_with_an_error_status_counts_as_down(nuclio: FakeNuclio, status: int) -> None:
    nuclio.list_status = status
    with pytest.raises(PlatformUnreachable, match=f"refused with status {status}"):
        registry.listed()


def test_wrong_platform_token_is_named(nuclio: FakeNuclio) -> None:
    nuclio.token = "secret"
    with pytest.raises(PlatformUnreachable, match="status 403: forbidden"):
        registry.listed()


def test_platform_without_functions_gives_an_empty_list(nuclio: FakeNuclio) -> None:
    assert registry.listed() == []
    registry.listed()
    assert len(nuclio.seen) == 1


def test_function_that_is_no_longer_listed_is_missing_until_it_is_listed_again(
    nuclio: FakeNuclio,
) -> None:
    nuclio.functions = {"a": function_object("a"), "b": function_object("b")}
    registry.refresh()
    del nuclio.functions["b"]
    assert registry.refresh(force=True).missing == ("b",)
    assert [(spec.id, spec.state) for spec in registry.listed()] == [
        ("a", "ready"),
        ("b", "missing"),
    ]
    assert registry.get("b").state == "missing"
    nuclio.functions["b"] = function_object("b")
    assert registry.refresh(force=True).changed == ("b",)
    assert registry.get("b").state == "ready"


def test_change_of_state_sends_its_signal(nuclio: FakeNuclio) -> None:
    told: list[tuple[str, str, str]] = []

    def listen(sender: object, **kwargs: Any) -> None:
        told.append((kwargs["function_id"], kwargs["before"], kwargs["after"]))

    signals.function_state_changed.connect(listen)
    try:
        nuclio.functions = {"a": function_object("a")}
        registry.refresh()
        nuclio.functions["a"]["status"] = {"state": "error", "message": "no disk"}
        registry.refresh(force=True)
    finally:
        signals.function_state_changed.disconnect(listen)
    assert told == [("a", "ready", "error")]
    assert Function.objects.get(pk="a").message == "no disk"


def test_new_version_changes_the_revision_and_the_spec(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    before = registry.listed()[0]
    nuclio.functions["a"]["metadata"]["annotations"]["version"] = "2"
    assert registry.refresh(force=True).changed == ("a",)
    after = registry.get("a")
    assert (before.version, after.version) == (1, 2)
    assert before.revision != after.revision
    assert registry.refresh(force=True).changed == ()


def test_source_code_and_build_logs_are_not_stored(nuclio: FakeNuclio) -> None:
    raw = function_object("a")
    raw["spec"]["build"] = {"functionSourceCode": "x" * 10_000, "path": "here"}
    raw["status"]["logs"] = [{"message": "y" * 10_000}]
    nuclio.functions = {"a": raw}
    registry.refresh()
    kept = Function.objects.get(pk="a").metadata
    assert kept["spec"]["build"] == {"path": "here"}
    assert "logs" not in kept["status"]


def test_look_up_makes_one_query_by_primary_key(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    first = registry.get("a")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert registry.get("a") is first
    assert len(queries) == 1
    assert len(nuclio.seen) == 1


@pytest.mark.parametrize("name", ["unknown", "", "a/b", "x" * 5000, "a\0b"])
def test_unknown_function_is_not_found(nuclio: FakeNuclio, name: str) -> None:
    with pytest.raises(FunctionNotFound):  # PostgreSQL would fail on the last one
        registry.get(name)


def test_disabled_function_is_not_found(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    row = Function.objects.get(pk="a")
    row.enabled = False
    row.save()
    assert registry.listed() == []
    with pytest.raises(FunctionNotFound):
        registry.get("a")


def test_refresh_of_a_fresh_table_reads_nothing(nuclio: FakeNuclio, settings: Settings) -> None:
    assert registry.refresh().skipped is False
    assert registry.refresh().skipped is True
    assert registry.refresh(force=True).skipped is False
    assert len(nuclio.seen) == 2


def test_refresh_while_another_process_reads_reads_nothing(nuclio: FakeNuclio) -> None:
    until = timezone.now() + timedelta(seconds=30)
    PlatformCheck.objects.create(pk=NUCLIO, claimed_until=until)
    assert registry.refresh().skipped is True
    assert nuclio.seen == []


def test_failed_call_reads_the_function_again(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    nuclio.functions["a"]["status"] = {"state": "building"}
    registry.note_failure("a", PlatformUnreachable())
    assert registry.get("a").state == "building"
    del nuclio.functions["a"]
    registry.note_failure("a", PlatformUnreachable())
    assert registry.get("a").state == "missing"


def test_failed_call_of_a_reachable_function_changes_nothing(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    registry.note_failure("a", FunctionTimeout())
    registry.note_failure("nobody", PlatformUnreachable())
    assert [seen.path for seen in nuclio.seen] == ["/api/functions"]


def test_endpoint_hides_a_platforms_function_with_the_same_id(nuclio: FakeNuclio) -> None:
    Function.objects.create(
        id="a",
        platform="endpoint",
        endpoint_url="https://models.example.org/a",
        metadata=function_object("a", name="Mine"),
    )
    nuclio.functions = {"a": function_object("a", name="Theirs")}
    registry.refresh()
    spec = registry.get("a")
    assert (spec.name, spec.address.endpoint_url) == ("Mine", "https://models.example.org/a")
    del nuclio.functions["a"]
    assert registry.refresh(force=True).missing == ()


def test_endpoint_is_unhealthy_until_it_answers_again(nuclio: FakeNuclio) -> None:
    Function.objects.create(id="e", platform="endpoint", metadata=function_object("e"))
    registry.note_failure("e", PlatformUnreachable())
    assert registry.get("e").state == "unhealthy"
    registry.note_success(registry.get("e"))
    assert registry.get("e").state == "ready"


@pytest.mark.django_db(transaction=True)
def test_concurrent_refreshes_read_the_platform_once(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 3600
    nuclio.functions = {f"f{number}": function_object(f"f{number}") for number in range(5)}
    PlatformCheck.objects.create(platform="nuclio")
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            start.wait()
            refresh_quietly()
        except BaseException as exc:
            failures.append(exc)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(nuclio.seen) == 1
    assert Function.objects.count() == 5
