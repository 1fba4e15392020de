"""The first account of a standalone server. Its password is stored in the home folder."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

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
    path = home / "account.json"
    stored = _stored(path)
    if stored is not None:
        user = _user_of(stored.name)
        if user is not None:
            known = stored.password is not None and user.check_password(stored.password)
            return stored if known else Account(name=stored.name, password=None)
    account = Account(name=_free_name(), password=secrets.token_urlsafe(9))
    _create_superuser(account)
    _store(path, account)
    return account


def token_of(name: str) -> str:
    """Return a new login key of an account, for a program of this machine."""
    from cvat_lambda.engine.standalone.models import AccessToken

    user: Any = _user_of(name)
    return AccessToken.create_login_key(user)[1]


def _user_of(name: str) -> AbstractBaseUser | None:
    """Return the user with a login name, under whatever field the user model keeps it."""
    from django.contrib.auth import get_user_model

    users: Any = get_user_model()._default_manager
    found: AbstractBaseUser | None = users.filter(**{get_user_model().USERNAME_FIELD: name}).first()
    return found


def _create_superuser(account: Account) -> None:
    from django.contrib.auth import get_user_model

    users: Any = get_user_model()._default_manager
    users.create_superuser(
        **{get_user_model().USERNAME_FIELD: account.name}, password=account.password
    )


def _free_name() -> str:
    number = 1
    while _user_of(name := NAME if number == 1 else f"{NAME}{number}") is not None:
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
