"""``manage.py functions VERB`` against a platform at the wire."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from cvat_lambda.functions import registry
from cvat_lambda.functions.models import Function

from . import fake_nuclio as fakes
from .fake_nuclio import FakeNuclio, function_object

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("functions", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_list_shows_every_function_and_what_is_wrong_with_it(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a"), "bad": function_object("bad", type="")}
    out, err = run("list")
    assert "a\tdetector\tready\tA\n" in out
    assert "\tfunction 'bad': the annotation 'type' is missing" in out
    assert "the platform has 2 functions; changed: a, bad; broken: bad" in err


def test_list_answers_from_the_registry_when_the_platform_is_down(
    nuclio: FakeNuclio, settings: Any
) -> None:
    nuclio.functions = {"a": function_object("a")}
    run("refresh")
    settings.CVAT_LAMBDA_PLATFORM_URL = f"http://127.0.0.1:{fakes.closed_port()}"
    out, err = run("list")
    assert "a\tdetector\tready\tA\n" in out
    assert "the function platform does not answer" in err
    with pytest.raises(CommandError, match="does not answer"):
        run("refresh")


def test_remove_removes_from_the_platform(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    registry.refresh()
    assert run("remove", "a")[0] == "a is removed\n"
    assert nuclio.functions == {}
    assert registry.get("a").state == "away"
    with pytest.raises(CommandError, match="Function not found"):
        run("remove", "a")


def test_invoke_shows_the_answer(nuclio: FakeNuclio, tmp_path: Path) -> None:
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


def test_check_calls_a_function_and_judges_its_answer(nuclio: FakeNuclio) -> None:
    nuclio.functions = {"a": function_object("a")}
    assert run("check", "a")[0].startswith("a: passed: it found 0 shapes and 0 tags in ")
    nuclio.default = {"shapes": []}
    with pytest.raises(CommandError, match="not all functions keep their contract"):
        run("check", "a")


def test_check_judges_a_folder(nuclio: FakeNuclio, tmp_path: Path) -> None:
    (tmp_path / "function.yaml").write_text("metadata: {}\n")
    with pytest.raises(CommandError, match="not all functions keep their contract"):
        run("check", str(tmp_path))


def test_deploy_drives_nuctl_with_the_apps_namespace_and_project(
    nuclio: FakeNuclio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("new", "detector", "my-detector", "--into", str(tmp_path))
    record, nuctl = tmp_path / "record", tmp_path / "nuctl"
    nuctl.write_text(f'#!/bin/sh\necho "$@" >> {record}\n')
    nuctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    nuclio.functions = {"my-detector": function_object("my-detector")}
    run("deploy", str(tmp_path), "--platform", "nuclio", "--nuclio-platform", "kube")
    created, deployed = record.read_text().splitlines()
    assert created == "create project cvat --namespace nuclio --platform kube"
    assert deployed.endswith("--project-name cvat --namespace nuclio --platform kube")
    assert "/my-detector/function.yaml " in deployed
    assert registry.get("my-detector").state == "ready"
    with pytest.raises(CommandError, match="no function folder is there"):
        run("deploy", str(tmp_path / "nothing"))


def test_check_reads_every_folder_below_and_starts_none_when_told(
    nuclio: FakeNuclio, tmp_path: Path
) -> None:
    for kind in ("detector", "reid"):
        run("new", kind, f"my-{kind}", "--into", str(tmp_path))
    out, _ = run("check", str(tmp_path), "--lint-only")
    assert out == "my-detector: passed\nmy-reid: passed\n"


def test_new_writes_a_folder(tmp_path: Path) -> None:
    out, _ = run("new", "detector", "my-detector", "--into", str(tmp_path))
    assert (tmp_path / "my-detector" / "function.yaml").is_file()
    assert "functions check" in out
    with pytest.raises(CommandError, match="is there already"):
        run("new", "detector", "my-detector", "--into", str(tmp_path))


def test_an_endpoint_is_added_tested_and_removed(
    nuclio: FakeNuclio, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_an_endpoint_that_is_not_allowed_is_refused(nuclio: FakeNuclio) -> None:
    with pytest.raises(CommandError, match="is not allowed for endpoints"):
        run("endpoint", "add", "mine", nuclio.url, "--kind", "detector")
    with pytest.raises(CommandError, match="write it as NAME=VALUE"):
        run("endpoint", "add", "mine", nuclio.url, "--kind", "reid", "--annotation", "x")
