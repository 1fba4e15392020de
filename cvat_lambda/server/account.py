"""The first account of a standalone server. Its password is stored in the home folder."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.auth.models import User

NAME = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account and its password."""

    name: str
    password: str | None  # None: it was changed and is not known here

    def hint(self) -> str:
        """Return how to log in, as a sentence."""
        if self.password is None:
            return f"log in as {self.name} with the password that you set"
        return f"log in as {self.name} with the password {self.password}"


def ensure_account(home: Path) -> Account:
    """Return the administrator of this home folder; create it at the first call.

    Only the owner of the files can read the password in ``account.json``.
    """
    from django.contrib.auth.models import User

    path = home / "account.json"
    stored = _stored(path)
    if stored is not None:
        user = User.objects.filter(username=stored.name).first()
        if user is not None:
            known = stored.password is not None and user.check_password(stored.password)
            return stored if known else Account(name=stored.name, password=None)
    account = Account(name=_free_name(), password=secrets.token_urlsafe(9))
    User.objects.create_superuser(account.name, password=account.password)
    _store(path, account)
    return account


def token_of(name: str) -> str:
    """Return a new login key of an account, for a program of this machine."""
    from django.contrib.auth.models import User

    from cvat_lambda.engine.standalone.models import AccessToken

    user: User = User.objects.get(username=name)
    return AccessToken.create_login_key(user)[1]


def _free_name() -> str:
    from django.contrib.auth.models import User

    taken = set(User.objects.values_list("username", flat=True))
    number = 1
    while (name := NAME if number == 1 else f"{NAME}{number}") in taken:
        number += 1
    return name


def _stored(path: Path) -> Account | None:
    try:
        content = json.loads(path.read_text())
        return Account(name=str(content["name"]), password=str(content["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or invalid: a new account is created


def _store(path: Path, account: Account) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"name": account.name, "password": account.password}, file)
    draft.replace(path)
