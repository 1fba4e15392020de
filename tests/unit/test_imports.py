"""The rules of the house: who may import whom. Arrows run down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "cvat_lambda"

# Room -> the rooms below it that it may use (itself always). Modules at the top of the package
# are rooms of their own.
BASE = {"errors", "conf", "signals"}
ALLOWED: dict[str, set[str]] = {
    "annotations": set(),
    "runtime": set(),
    "errors": set(),
    "conf": set(),
    "signals": set(),
    "parsers": set(),
    "redis_client": {"conf"},
    "functions": BASE | {"annotations"},
    "gateway": BASE | {"annotations", "functions", "redis_client"},
    "engine": BASE | {"annotations", "parsers"},
    "requests": BASE | {"annotations", "functions", "gateway", "engine"},
    "interactive": BASE | {"annotations", "functions", "gateway", "engine", "redis_client"},
    "api": BASE | {"annotations", "functions", "engine", "parsers", "requests", "interactive"},
    "metric_files": set(),
    "metrics": BASE | {"metric_files"},
    "logs": BASE,
    "checks": BASE,
    "apps": {"checks", "logs", "metrics", "gateway"},
    "models": {"functions", "requests"},
    "web": BASE | {"annotations", "functions", "engine", "requests", "metrics"},
    "testing": BASE | {"annotations", "functions", "gateway", "engine", "requests"},
}
FREE = {"server", "management", "migrations", "admin", ""}  # they put the rooms together


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else ""


def dotted(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path) -> Iterator[str]:
    """Dotted names of every module that a file imports, at any depth of nesting."""
    package = ("cvat_lambda", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, node.module) if node.module else base)
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    names = (name.split(".") for name in imported(path))
    return {name[1] for name in names if name[0] == "cvat_lambda" and len(name) > 1}


@pytest.mark.parametrize("path", modules(), ids=lambda path: ".".join(dotted(path)) or "package")
def test_a_module_imports_only_rooms_below_its_own(path: Path) -> None:
    room = room_of(dotted(path))
    if room in FREE:
        return
    rooms = {name for name in ours(path) if (PACKAGE / name).is_dir() or f"{name}.py" in TOP}
    assert rooms - {room} <= ALLOWED[room]


TOP = {path.name for path in PACKAGE.glob("*.py")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: ".".join(dotted(path)) or "package")
def test_only_the_cvat_engine_imports_cvat(path: Path) -> None:
    if dotted(path)[:2] == ("engine", "cvat"):
        return
    assert not [name for name in imported(path) if name.split(".")[0] == "cvat"]


@pytest.mark.parametrize("room", ["annotations", "runtime"])
def test_a_room_that_stands_alone_imports_no_django(room: str) -> None:
    django = {
        name
        for path in (PACKAGE / room).rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] in ("django", "rest_framework", "django_rq")
    }
    assert django == set()


def test_every_room_has_a_rule() -> None:
    rooms = {room_of(dotted(path)) for path in modules()}
    assert rooms - FREE <= set(ALLOWED)
