"""Login keys move from REST framework's table, where they are in clear, to digests."""

import hashlib
from datetime import timedelta

from django.db import migrations, models
from django.utils import timezone
from django.utils.crypto import salted_hmac

SALT = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
FORMER_TABLE = "authtoken_token"
DAYS = 14


def _password_digest(user):
    """Return what ``user.get_session_auth_hash()`` returns; migrations have no such method."""
    return salted_hmac(SALT, user.password, algorithm="sha256").hexdigest()


def fill_password_digests(apps, schema_editor):
    AccessToken = apps.get_model("engine", "AccessToken")
    for token in AccessToken.objects.select_related("user"):
        AccessToken.objects.filter(pk=token.pk).update(password_digest=_password_digest(token.user))


def move_login_keys(apps, schema_editor):
    connection = schema_editor.connection
    if FORMER_TABLE not in connection.introspection.table_names():
        return
    AccessToken = apps.get_model("engine", "AccessToken")
    User = AccessToken._meta.get_field("user").related_model
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT key, user_id FROM {FORMER_TABLE}")
        rows = cursor.fetchall()
        users = User.objects.in_bulk([user_id for _, user_id in rows])
        ends = timezone.now() + timedelta(days=DAYS)
        AccessToken.objects.bulk_create(
            AccessToken(
                user=users[user_id],
                kind="login",
                digest=hashlib.sha256(key.encode()).hexdigest(),
                password_digest=_password_digest(users[user_id]),
                expires_at=ends,
            )
            for key, user_id in rows
        )
        cursor.execute(f"DELETE FROM {FORMER_TABLE}")


class Migration(migrations.Migration):

    dependencies = [
        ("engine", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="accesstoken",
            name="kind",
            field=models.CharField(
                choices=[("personal", "Personal"), ("login", "Login")],
                default="personal",
                editable=False,
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="accesstoken",
            name="password_digest",
            field=models.CharField(default="", editable=False, max_length=64),
        ),
        migrations.RunPython(fill_password_digests, migrations.RunPython.noop),
        migrations.RunPython(move_login_keys, migrations.RunPython.noop),
    ]
