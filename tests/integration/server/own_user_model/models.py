"""The user model."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class AccountManager(BaseUserManager["Account"]):
    """Creates accounts."""

    def create_superuser(self, email: str, password: str) -> Account:
        account = self.model(email=email, is_staff=True, is_superuser=True)
        account.set_password(password)
        account.save()
        return account


class Account(AbstractBaseUser, PermissionsMixin):
    """A user without a ``username`` field."""

    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)

    objects: ClassVar[Any] = AccountManager()

    USERNAME_FIELD = "email"

    class Meta:
        app_label = "own_user_model"
