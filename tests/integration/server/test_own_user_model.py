"""A Django project whose user model is not `auth.User`, such as CVAT 2.74 and newer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = "tests.integration.server.own_user_model.settings"

USE = """
import json
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from cvat_lambda.models import Function, Request
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("makemigrations", "cvat_lambda", "engine", check=True, dry_run=True, verbosity=0)
user = get_user_model().objects.create_superuser("ada@example.com", "secret")
Function.objects.create(id="cars", kind="detector")
request = Request.objects.create(owner=user, function_id="cars", function_kind="detector")
client = Client()
assert client.login(email="ada@example.com", password="secret")
paths = [
    "/",
    "/api/users/self",
    "/api/lambda/functions",
    "/api/lambda/requests",
    f"/api/lambda/requests/{request.pk}",
    "/api/tasks?owner=ada@example.com&sort=-owner",
    "/api/jobs?assignee=ada@example.com&sort=assignee",
    "/api/projects?owner=ada@example.com&sort=assignee",
    "/admin/cvat_lambda/request/?q=ada",
    "/admin/engine/task/?q=ada",
    "/admin/engine/datarequest/?q=ada",
    "/admin/engine/accesstoken/?q=ada",
]
print(json.dumps({path: client.get(path).status_code for path in paths}))
print(client.get("/api/users/self").json().get("username"))
user.delete()
request.refresh_from_db()
print(request.owner_id)
"""


def test_pages_and_api_work_with_a_user_model_without_a_username_field(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", USE],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "CVAT_LAMBDA_TEST_OWN_USER_DATABASE": str(tmp_path / "db.sqlite3"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers, name, owner = done.stdout.splitlines()[-3:]
    assert set(json.loads(answers).values()) == {200}, answers
    assert (name, owner) == ("ada@example.com", "None")


ACCOUNT = """
import json, logging, sys
from pathlib import Path
import django
django.setup()
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from cvat_lambda.server.account import ensure_account, token_of
call_command("migrate", run_syncdb=True, verbosity=0)
log = logging.getLogger("cvat_lambda.audit")
log.addHandler(logging.StreamHandler(sys.stdout))
log.setLevel("INFO")
account = ensure_account(Path(sys.argv[1]))
user = authenticate(email=account.name, password=account.password)
user.is_staff = False
user.save()
again = ensure_account(Path(sys.argv[1]))
print(json.dumps([user.email, again.password == account.password, bool(token_of(account.name))]))
"""


def test_first_account_and_audit_log_work_with_an_own_user_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ACCOUNT, str(tmp_path)],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "CVAT_LAMBDA_TEST_OWN_USER_DATABASE": str(tmp_path / "db.sqlite3"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *entries, result = done.stdout.splitlines()
    assert json.loads(result) == ["admin", True, True]
    assert [entry.partition(": ")[2] for entry in entries] == [
        "created account 1",
        "changed rights of account 1",
    ]
