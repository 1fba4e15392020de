"""``manage.py functions VERB`` against a fake platform over HTTP."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line
from django.db import connection
from pytest_django import Settings

from cvat_lambda.functions import registry
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.payload import BINARY_TYPE, decode_binary, encode_payload
from tests.http_server import Reply
from tests.ports import closed_port

from .fake_nuclio import FakeNuclio, function_object

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("functions", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_list_shows_every_function_with_its_problem(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a"), "bad": function_object("bad", type="")}
    # For an unreadable function.yaml the list shows the reason, not the missing fields.
    nuclio.functions["unread"] = {
        **function_object("unread", type=""),
        "status": {"state": "error", "message": "function.yaml cannot be read\nin detail"},
    }
    out, err = run("list")
    assert out.splitlines() == [
        "a       detector    ready         A",
        "bad     -           broken        -",
        "    function 'bad': the annotation 'type' is missing; it is one of detector, interactor, "
        "tracker, reid",
        "unread  -           error         -",
        "    function.yaml cannot be read",
    ]
    assert "the platform has 3 functions; changed: a, bad, unread; broken: bad, unread" in err


def test_list_answers_from_the_registry_when_the_platform_is_down(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    nuclio.functions = {"a": function_object("a")}
    run("refresh")
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://127.0.0.1:{closed_port()}"
    out, err = run("list")
    assert out == "a  detector    ready         A\n"
    url = settings.CVAT_LAMBDA_PLATFORM_URL
    assert f"the function platform does not answer (CVAT_LAMBDA_PLATFORM_URL is {url})" in err
    with pytest.raises(CommandError, match="does not answer"):
        run("refresh")


def test_list_compares_with_the_platform_and_writes_nothing(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a"), "b": function_object("b")}
    run("refresh")
    nuclio.functions = {"b": function_object("b"), "c": function_object("c")}
    before = list(Function.objects.values().order_by("id"))
    out, err = run("list")
    assert [line.split()[0] for line in out.splitlines()] == ["a", "b"]
    assert "the platform has 2 functions; not in the table yet: c" in err
    assert "not on the platform any more: a" in err
    assert list(Function.objects.values().order_by("id")) == before


def test_check_finds_a_function_that_the_table_does_not_have_yet(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    run("refresh")
    nuclio.functions["b"] = function_object("b")
    assert run("check", "b")[0].startswith("b: passed: ")
    assert "function 'c' was not found" in run_failing("check", "c")


def run_failing(*arguments: str) -> str:
    """Return what a command writes that ends with an error."""
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("functions", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_remove_deletes_the_function_from_the_platform(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    assert run("remove", "a")[0] == "a is removed\n"
    assert nuclio.functions == {}
    assert registry.get("a").state == "missing"
    with pytest.raises(CommandError, match="the platform has no function 'a'"):
        run("remove", "a")


def test_invoke_prints_the_answer(nuclio: FakeNuclio, tmp_path: Path) -> None:
    nuclio.functions = {"a": function_object("a")}
    nuclio.default = [{"label": "car"}]
    (tmp_path / "image.jpg").write_bytes(b"jpeg")
    out, _ = run("invoke", "a", "--image", str(tmp_path / "image.jpg"), "--data", '{"t": 0}')
    assert json.loads(out) == [{"label": "car"}]
    assert json.loads(nuclio.invocations()[0].body) == {"image": "anBlZw==", "t": 0}
    for data in ("[1]", "{"):
        with pytest.raises(CommandError, match="--data"):
            run("invoke", "a", "--data", data)
    with pytest.raises(CommandError, match="function 'b' was not found"):
        run("invoke", "b")


def test_invoke_sends_a_binary_body_to_a_function_that_announces_it(
    nuclio: FakeNuclio, tmp_path: Path
) -> None:
    nuclio.functions = {"a": function_object("a", type="interactor", binary="true")}
    body = encode_payload({"rle": [1, 0, 0, 0, 0], "blob": b"blob"}, binary=True)
    nuclio.script = [Reply(200, body, {"Content-Type": BINARY_TYPE})]
    (tmp_path / "image.jpg").write_bytes(b"jpeg")
    out, _ = run("invoke", "a", "--image", str(tmp_path / "image.jpg"))
    assert json.loads(out) == {"rle": [1, 0, 0, 0, 0], "blob": "YmxvYg=="}
    (sent,) = nuclio.invocations()
    assert sent.headers["content-type"] == BINARY_TYPE
    assert decode_binary(sent.body) == {"image": b"jpeg"}


def test_invoke_prints_the_rows_of_a_mask(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a", type="interactor")}
    nuclio.default = {"mask": [[0, 255], [255, 0]]}
    assert json.loads(run("invoke", "a")[0]) == {"mask": [[0, 255], [255, 0]]}


def test_check_calls_a_function_and_reports_whether_its_answer_is_valid(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    assert run("check", "a")[0].startswith("a: passed: it found 0 shapes and 0 tags in ")
    nuclio.default = {"shapes": []}
    with pytest.raises(CommandError, match="not all functions keep their contract"):
        run("check", "a")


def test_check_of_a_folder_starts_it_and_reports(nuclio: FakeNuclio, tmp_path: Path) -> None:
    (tmp_path / "function.yaml").write_text("metadata: {}\n")
    with pytest.raises(CommandError, match="not all functions keep their contract"):
        run("check", str(tmp_path))


def test_check_with_gpu_checks_the_gpu_variant(nuclio: FakeNuclio, tmp_path: Path) -> None:
    run("new", "detector", "one", "--into", str(tmp_path))
    (tmp_path / "one" / "function-gpu.yaml").write_text("metadata: {}\n")
    run("check", str(tmp_path / "one"), "--lint-only")
    with pytest.raises(CommandError, match="not all functions keep their contract"):
        run("check", str(tmp_path / "one"), "--lint-only", "--gpu")


def test_deploy_to_nuclio_calls_nuctl_with_the_apps_namespace_and_project(
    nuclio: FakeNuclio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run("new", "detector", "my-detector", "--into", str(tmp_path))
    record, nuctl = tmp_path / "record", tmp_path / "nuctl"
    nuctl.write_text(f'#!/bin/sh\necho "$@" >> {record}\n')
    nuctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    nuclio.functions = {"my-detector": function_object("my-detector")}
    with caplog.at_level(logging.INFO, "cvat_lambda.audit"):
        run("deploy", str(tmp_path), "--platform", "nuclio", "--nuclio-platform", "kube")
    audited = [vars(entry) for entry in caplog.records if entry.name == "cvat_lambda.audit"]
    assert [(entry["action"], entry["object_id"]) for entry in audited] == [
        ("deployed", "my-detector")
    ]
    created, deployed = record.read_text().splitlines()
    assert created == "create project cvat --namespace nuclio --platform kube"
    assert deployed.endswith("--project-name cvat --namespace nuclio --platform kube")
    assert "/my-detector/function.yaml " in deployed
    assert registry.get("my-detector").state == "ready"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match="no function folder is there"):
        run("deploy", str(tmp_path / "empty"))
    with pytest.raises(CommandError, match="nothing is not a folder"):
        run("deploy", str(tmp_path / "nothing"))


def test_deploy_to_nuclio_from_the_command_line_passes_arguments_behind_dashes_on(
    nuclio: FakeNuclio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("new", "detector", "my-detector", "--into", str(tmp_path))
    record, nuctl = tmp_path / "record", tmp_path / "nuctl"
    nuctl.write_text(f'#!/bin/sh\necho "$@" >> {record}\n')
    nuctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    words = ["deploy", str(tmp_path), "--platform", "nuclio", "--network", "lab"]
    execute_from_command_line(["manage.py", "functions", *words, "--", "--env", "A=b"])
    deployed = record.read_text().splitlines()[1]
    assert deployed.endswith(
        '--platform local --platform-config {"attributes": {"network": "lab"}} --env A=b'
    )


def test_deploy_continues_after_a_failed_folder_and_counts_the_failures(
    nuclio: FakeNuclio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        run("new", "detector", name, "--into", str(tmp_path / "functions"))
    record, nuctl = tmp_path / "record", tmp_path / "nuctl"
    nuctl.write_text(f'#!/bin/sh\necho "$1 $3" >> {record}\ncase "$3" in *first) exit 4; esac\n')
    nuctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    out, err = io.StringIO(), io.StringIO()
    words = ("deploy", str(tmp_path / "functions"), "--platform", "nuclio")
    with pytest.raises(CommandError, match="1 of 2 functions are not deployed"):
        call_command("functions", *words, stdout=out, stderr=err)
    assert "nuctl deploy ended with status 4" in err.getvalue()
    deployed = [line for line in record.read_text().splitlines() if line.startswith("deploy ")]
    assert [line.rpartition("/")[2] for line in deployed] == ["first", "second"]


def test_deploy_without_a_runtime_fails_once_and_names_the_setting(
    settings: Settings, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        run("new", "detector", name, "--into", str(tmp_path))
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(CommandError, match=r"no runtime answers.*with CVAT_LAMBDA_PLATFORM_URL"):
        run("deploy", str(tmp_path))


@pytest.mark.parametrize(
    "words",
    [
        ("invoke", "a", "--image", "nothing.jpg"),
        ("endpoint", "add", "a", "http://x/", "--kind", "detector", "--labels", "nothing.jpg"),
    ],
)
def test_missing_file_is_reported_in_a_sentence(nuclio: FakeNuclio, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"nothing\.jpg cannot be read: No such file"):
        run(*words)


def test_database_without_tables_is_reported_in_a_sentence() -> None:
    with connection.cursor() as cursor:
        # Rolled back after the test.
        cursor.execute(f"ALTER TABLE {Function._meta.db_table} RENAME TO away")
    with pytest.raises(CommandError, match=r"run manage\.py migrate"):
        run("check", "a")


def test_logs_of_an_unknown_function_or_an_endpoint_are_refused_in_a_sentence(
    nuclio: FakeNuclio, settings: Settings
) -> None:
    with pytest.raises(CommandError, match="the platform has no function 'nobody'"):
        run("logs", "nobody")
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.0/8",)
    _, err = run("endpoint", "add", "mine", nuclio.url, "--kind", "detector")
    assert "it has no labels yet" in err
    with pytest.raises(CommandError, match="its own server has its log"):
        run("logs", "mine")


def test_check_with_lint_only_reads_every_folder_and_starts_none(
    nuclio: FakeNuclio, tmp_path: Path
) -> None:
    for kind in ("detector", "reid"):
        run("new", kind, f"my-{kind}", "--into", str(tmp_path))
    out, _ = run("check", str(tmp_path), "--lint-only")
    assert out == "my-detector: passed\nmy-reid: passed\n"


def test_new_writes_a_function_folder(tmp_path: Path) -> None:
    out, _ = run("new", "detector", "my-detector", "--into", str(tmp_path))
    assert (tmp_path / "my-detector" / "function.yaml").is_file()
    assert "functions check" in out
    with pytest.raises(CommandError, match="exists already"):
        run("new", "detector", "my-detector", "--into", str(tmp_path))


def test_endpoint_is_added_tested_and_removed(
    nuclio: FakeNuclio, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.0/8",)
    (tmp_path / "labels.json").write_text('[{"name": "car"}]')
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    run(
        *("endpoint", "add", "mine", nuclio.url, "--kind", "detector", "--token-stdin"),
        *("--labels", str(tmp_path / "labels.json"), "--timeout", "5", "--workers", "2"),
        *("--annotation", "version=3", "--annotation", "max_batch=2"),
    )
    spec = registry.get("mine")
    assert (spec.version, spec.max_batch, spec.workers, spec.timeout_s) == (3, 2, 2, 5.0)
    assert [label.name for label in spec.labels] == ["car"]
    assert "mine: passed" in run("endpoint", "test", "mine")[0]
    assert nuclio.invocations()[0].headers["authorization"] == "Bearer secret"
    with pytest.raises(CommandError, match="functions endpoint remove"):
        run("remove", "mine")
    run("endpoint", "remove", "mine")
    assert not Function.objects.exists()


def test_endpoint_on_a_host_that_is_not_allowed_is_refused(nuclio: FakeNuclio) -> None:
    with pytest.raises(CommandError, match="is not allowed for endpoints"):
        run("endpoint", "add", "mine", nuclio.url, "--kind", "detector")
    with pytest.raises(CommandError, match="write it as NAME=VALUE"):
        run("endpoint", "add", "mine", nuclio.url, "--kind", "reid", "--annotation", "x")
