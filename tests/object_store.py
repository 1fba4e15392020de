"""A real server of S3's API (moto, from a wheel) for tests, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from cvat_lambda.server.processes import Child, wait_for_port
from tests.ports import free_port

BUCKET = "media"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """A bucket of a running server."""

    url: str
    process: Child
    bucket: str = BUCKET

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which the standalone server uses the bucket."""
        return {
            **CREDENTIALS,
            "CVAT_LAMBDA_S3_BUCKET": self.bucket,
            "CVAT_LAMBDA_S3_ENDPOINT_URL": self.url,
            "CVAT_LAMBDA_S3_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """Return a client of S3."""
        return _client(self.url)

    def keys(self) -> list[str]:
        """Return the names of all objects."""
        found = self.client().list_objects_v2(Bucket=self.bucket)
        return sorted(item["Key"] for item in found.get("Contents", []))

    def other_bucket(self, name: str) -> ObjectStore:
        """Create another bucket on the server."""
        self.client().create_bucket(Bucket=name)
        return replace(self, bucket=name)


@cache
def _client(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 1}),
    )


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run a server with an empty bucket; its log is in ``folder``."""
    port = free_port()
    process = Child.start(
        "object store",
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        log=folder / "object-store.log",
    )
    try:
        wait_for_port(port, child=process)
        store = ObjectStore(url=f"http://127.0.0.1:{port}", process=process)
        store.client().create_bucket(Bucket=BUCKET)
        yield store
    finally:
        process.stop()
