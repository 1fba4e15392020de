"""The import rules of docs/architecture.md: a module uses its own room and rooms below it only.

A reference counts wherever it stands: an ``import`` at any depth, a dotted name in a string
(``import_string``, Django settings), or a module of this package named in a template of a command.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "cvat_lambda"

# Room -> the rooms below it that it may use; a room may always use itself. A room is a folder or
# a module of the package; a folder named here with a slash is a room inside a room, and the rule
# of the inner room counts for its modules.
BASE = {"errors", "conf", "signals"}
PORT = {"engine", "engine/conformance"}
# Modules of the runtime that all of its rooms may use.
RUNTIME_BASE = {
    f"runtime/{name}"
    for name in (
        "authorization",
        "binary_bodies",
        "cancellation",
        "errors",
        "logs",
        "paths",
        "threads",
    )
}
RULES: dict[str, set[str]] = {
    "errors": set(),
    "conf": set(),
    "signals": set(),
    "annotations": set(),
    "images": {"errors", "annotations"},
    "redis_client": {"conf"},
    "prepared": set(),
    "json_rows": set(),
    "allowed_hosts": set(),
    "bounded_paginator": set(),
    "rest": BASE | {"annotations"},
    "observability": BASE,
    "functions": BASE | {"annotations", "prepared"},
    "agents": BASE
    | {"annotations", "functions", "engine", "redis_client", "prepared", "bounded_paginator"},
    "gateway": BASE
    | {"annotations", "functions", "agents", "observability", "redis_client", "allowed_hosts"}
    | {"bounded_paginator"},
    "engine": BASE | {"annotations"},
    "engine/conformance": BASE | {"annotations", "engine"},
    "engine/cvat": BASE | {"annotations", "engine", "prepared", "json_rows"},
    "engine/standalone": BASE
    | {"annotations", "images", "engine", "rest", "allowed_hosts", "prepared", "bounded_paginator"}
    | {"json_rows"},
    "interactive": BASE
    | {"annotations", "images", "functions", "agents", "gateway", "engine", "redis_client"}
    | {"observability"},
    # The first room of requests/ is the lowest; rq_tasks and admin use all of them.
    "requests/store": BASE | {"annotations", "json_rows"},
    "requests/run": BASE
    | {"annotations", "images", "functions", "agents", "gateway", "engine", "requests/store"},
    "requests/control": BASE
    | {"annotations", "images", "functions", "agents", "gateway", "engine", "requests/store"}
    | {"requests/run", "allowed_hosts"},
    "requests": BASE
    | {"annotations", "functions", "gateway", "engine", "bounded_paginator"}
    | {"requests/store", "requests/run", "requests/control"},
    "api": BASE
    | {"annotations", "images", "functions", "agents", "engine", "rest", "requests", "interactive"}
    | {"requests/store", "requests/control"},
    "web": BASE
    | {
        "annotations",
        "images",
        "functions",
        "agents",
        "gateway",
        "engine",
        "interactive",
        "requests",
    }
    | {"engine/standalone", "observability", "requests/store", "requests/control"}
    | {"bounded_paginator"},
    # The rooms of runtime/ use nothing else of the package. The first one is the lowest.
    **{room: {"runtime/errors"} for room in RUNTIME_BASE},
    "runtime/paths": {"runtime/cancellation"},
    "runtime/worker": set(),
    "runtime/spec": RUNTIME_BASE,
    "runtime/processes": RUNTIME_BASE,
    "runtime/environments": RUNTIME_BASE | {"runtime/processes"},
    "runtime/weights": RUNTIME_BASE | {"runtime/spec", "runtime/processes", "runtime/environments"},
    "runtime/processor": RUNTIME_BASE | {"runtime/worker", "runtime/spec", "runtime/processes"},
    "runtime/deploy": RUNTIME_BASE
    | {"runtime/spec", "runtime/processes", "runtime/environments", "runtime/weights"}
    | {"runtime/processor"},
    "runtime/dashboard": RUNTIME_BASE | {"runtime/spec", "runtime/deploy"},
    "runtime/client": RUNTIME_BASE | {"runtime/spec"},
    "runtime/commands": RUNTIME_BASE | {"runtime/spec", "runtime/deploy", "runtime/client"},
    # check/ starts the command line in a child process, so it names "runtime" in a string.
    "runtime/check": RUNTIME_BASE
    | {"runtime/spec", "runtime/client", "runtime/commands", "runtime"},
    "runtime": RUNTIME_BASE
    | {f"runtime/{name}" for name in ("spec", "weights", "deploy", "dashboard", "check")}
    | {"runtime/environments", "runtime/processes"}
    | {"runtime/client", "runtime/commands", "runtime/worker"},
    "checks": BASE,
    "apps": {"checks", "observability", "rest", "functions", "agents", "gateway", "requests"}
    | {"requests/store"},
    "models": {"functions", "agents", "requests/store"},
}
# These rooms compose the others, so they may use all of them.
COMPOSING = {"server", "integration", "management", "admin", "migrations"}
# Rooms that can be used without Django.
WITHOUT_DJANGO = ("annotations", "images", "runtime")
# The only rooms that may import CVAT's own packages.
USING_CVAT = ("engine/cvat", "integration")

# Packages whose module has another name.
MODULE_OF = {"djangorestframework": "rest_framework"}

MODULES = sorted(PACKAGE.rglob("*.py"))
DOTTED = re.compile(r"cvat_lambda(?:\.\w+)+")


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "/".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(place: str) -> str | None:
    """Return the innermost room of a module, or ``None`` for the package itself."""
    parts = place.split("/")
    for length in range(len(parts), 0, -1):
        name = "/".join(parts[:length])
        if name in RULES or name in COMPOSING:
            return name
    return None


def docstrings(tree: ast.AST) -> set[ast.expr]:
    nodes = (
        n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    )
    firsts = (node.body[0] for node in nodes if node.body)
    return {first.value for first in firsts if isinstance(first, ast.Expr)}


@cache
def referenced(path: Path) -> frozenset[str]:
    """Return the dotted names of all modules that a file imports or names in a string."""
    return frozenset(_references(path))


def _references(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(), str(path))
    package = ("cvat_lambda", *path.relative_to(PACKAGE).parts[:-1])
    ignored = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, node.module) if node.module else base)
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in ignored
            and DOTTED.fullmatch(node.value)
        ):
            yield node.value


def rooms_used(path: Path) -> set[str]:
    """Return the rooms that a file refers to."""
    used = set()
    for name in referenced(path):
        parts = name.split(".")[1:]
        if not name.startswith("cvat_lambda.") or not exists(parts[0]):
            continue
        if room := room_of("/".join(parts)):
            used.add(room)
    return used


def exists(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def modules_of(*rooms: str) -> list[Path]:
    return [path for path in MODULES if (room_of(dotted(path)) or "").startswith(rooms)]


def test_modules_use_only_their_own_room_and_rooms_below() -> None:
    found = {}
    for path in MODULES:
        room = room_of(dotted(path))
        if room is not None and room not in COMPOSING:
            found[dotted(path)] = rooms_used(path) - {room} - RULES[room]
    assert {place: rooms for place, rooms in found.items() if rooms} == {}


def test_modules_outside_the_cvat_rooms_do_not_use_cvat() -> None:
    found = {
        dotted(path): [name for name in referenced(path) if name.split(".")[0] == "cvat"]
        for path in MODULES
        if not (room_of(dotted(path)) or "").startswith(USING_CVAT)
    }
    assert {place: names for place, names in found.items() if names} == {}


@pytest.mark.parametrize("room", WITHOUT_DJANGO)
def test_room_without_django_does_not_import_django(room: str) -> None:
    names = {name for path in modules_of(room) for name in referenced(path)}
    assert {n for n in names if n.startswith(("django", "rest_framework"))} == set()


def test_runtime_imports_no_package_that_cvat_pins() -> None:
    """So .ci/run runs the runtime's tests once. They do not depend on CVAT's pins."""
    constraints = REPOSITORY / "script" / "constraints" / "cvat-2.54.txt"
    pinned, _, _ = constraints.read_text().partition("# Newest releases of the rest")
    names = {line.partition("==")[0] for line in pinned.splitlines() if "==" in line}
    modules = {MODULE_OF.get(name, name.lower().replace("-", "_")) for name in names}
    assert {"django", "numpy", "rest_framework", "rq"} <= modules
    used = {name.split(".")[0] for path in modules_of("runtime") for name in referenced(path)}
    assert used & modules == set()


def test_second_pass_of_ci_leaves_out_folders_whose_tests_use_no_package_of_the_web_server() -> (
    None
):
    """Tests of model functions run once for another reason: they have environments of their own.

    What `new` writes for trained models is called through the app, too, as in other tests.
    """
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    folders = [REPOSITORY / name for name in re.findall(r"--ignore=([\w/]+)", script)]
    assert len(folders) > 5
    assert [folder for folder in folders if not folder.is_dir()] == []
    statement = re.compile(r"^\s*(from|import) (django|rest_framework|rq)\b", re.MULTILINE)
    users = {
        folder.name
        for folder in folders
        for path in folder.rglob("*.py")
        if statement.search(path.read_text(encoding="utf-8"))
    }
    assert users - {"functions", "new_models"} == set()


def test_no_module_imports_scipy_when_it_is_loaded() -> None:
    """SciPy would double the time in which a server, a worker or a command starts."""
    statement = re.compile(r"^(import|from) scipy\b", re.MULTILINE)  # not inside a function
    assert [dotted(path) for path in MODULES if statement.search(path.read_text())] == []


def test_every_module_belongs_to_a_room() -> None:
    places = {dotted(path) for path in MODULES} - {""}
    assert {place for place in places if room_of(place) is None} == set()


def test_every_rule_names_a_room_that_exists() -> None:
    assert {room for room in RULES if not exists(room)} == set()


def test_the_architecture_page_lists_every_room() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    table = page.partition("## Rooms")[2].partition("##")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    rooms = {room for room in (*RULES, *COMPOSING) if (PACKAGE / room).is_dir()}
    assert listed == rooms - {"migrations"}
