"""``manage.py check --deploy --tag host``: what this host lacks to work with the others."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence

import redis
from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.files.base import ContentFile
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from cvat_lambda import __version__
from cvat_lambda.engine.standalone.media.storage import object_store
from cvat_lambda.server import health, hosts

TAG = "host"


@register(TAG, deploy=True)
def check_host(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: object
) -> list[CheckMessage]:
    """Check the database, the queue, the storage, the functions and the other hosts."""
    return [message for part in (database, queue, storage, platform) for message in part()]


def database() -> list[CheckMessage]:
    """Report a database that does not answer, or whose tables belong to another version."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        unknown = sorted(
            f"{app}.{name}"
            for app, name in set(executor.loader.applied_migrations)
            - set(executor.loader.disk_migrations)
            if app.startswith("cvat_lambda") and (app, name) not in executor.loader.graph.nodes
        )
    except DatabaseError as exc:
        text = f"the database of DATABASE_URL does not answer ({type(exc).__name__})"
        return [Error(text, id="cvat_lambda.E101")]
    finally:
        connection.close()
    if unknown:
        text = f"a newer version has migrated the database: this one does not know {unknown[0]}"
        return [Error(text, hint="Install that version here.", id="cvat_lambda.E102")]
    if plan:
        text = f"{len(plan)} migrations are not applied"
        hint = "Run migrate, or start a host with the role web."
        return [Error(text, hint=hint, id="cvat_lambda.E103")]
    return []


def queue() -> list[CheckMessage]:
    """Report a queue that does not answer, hosts of other versions, and media that hosts lack."""
    try:
        others = hosts.running()
    except (redis.RedisError, OSError) as exc:
        text = f"Redis at CVAT_LAMBDA_REDIS_URL does not answer ({type(exc).__name__})"
        return [Error(text, id="cvat_lambda.E104")]
    found: list[CheckMessage] = [
        Error(
            f"host {host.name} runs version {host.version}, this one {__version__}",
            hint="Install the same version on all hosts.",
            id="cvat_lambda.E105",
        )
        for host in others
        if host.version != __version__
    ]
    reading = {host.name for host in others if {"web", "workers"} & set(host.roles)}
    if len(reading) > 1 and object_store() is None:
        text = f"{len(reading)} hosts read media, which are files of {django_settings.MEDIA_ROOT}"
        hint = "Set CVAT_LAMBDA_S3_BUCKET, or mount one folder at this place on all of them."
        found.append(Warning(text, hint=hint, id="cvat_lambda.W106"))
    return found


def storage() -> list[CheckMessage]:
    """Report a storage to which nothing can be written."""
    store = object_store()
    if store is None:
        if os.access(django_settings.HOME, os.W_OK):
            return []
        return [Error("the home folder cannot be written to", id="cvat_lambda.E107")]
    try:
        name = store.save(f"engine/checks/{uuid.uuid4().hex}", ContentFile(b""))
        store.delete(name)
    except Exception as exc:  # storage classes have no common error
        text = f"the bucket of CVAT_LAMBDA_S3_BUCKET cannot be written to ({type(exc).__name__})"
        return [Error(text, id="cvat_lambda.E107")]
    return []


def platform() -> list[CheckMessage]:
    """Report a function platform that does not answer."""
    check: Callable[[], str] = health.check_platform
    try:
        problem = check()
    except Exception as exc:  # of urllib3, which has many
        problem = f"the function platform does not answer ({type(exc).__name__})"
    return [Warning(problem, id="cvat_lambda.W108")] if problem else []
