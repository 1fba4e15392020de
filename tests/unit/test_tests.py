"""Rules for the code of the tests: typed parameters, public members, one server, one `wait_for`.

Each rule has the exceptions that are allowed, by file, with their reasons.
"""

from __future__ import annotations

import ast
import gzip
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
# Members of other packages that have no public name.
OF_OTHER_PACKAGES = {
    "_exit": "os",
    "_meta": "Django",
    "_expire_cache": "Django",
    "_testMethodName": "unittest",
    "_http": "CVAT's gateway, as CVAT's own tests patch it",
    "_get_cache_item": "CVAT's cache of chunks",
    "_has_ops": "torchvision",
    "_roi_align": "torchvision",
}
ANY = re.compile(r"Any|(Iterator|Generator)\[Any.*\]")
APP = re.compile(r"cvat_lambda\.|common\.")


@dataclass(frozen=True)
class Source:
    """A module of the tests."""

    path: str  # relative to the folder `tests`
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


SOURCES = [
    Source(str(path.relative_to(TESTS)), path.read_text("utf-8"))
    for path in sorted(TESTS.rglob("*.py"))
    if path != Path(__file__)
]


def untyped_fixtures(source: Source) -> list[str]:
    """Return the parameters of tests and fixtures, and the fixtures, that have the type `Any`."""
    found = []
    for function in source.functions():
        decorators = [ast.unparse(node) for node in function.decorator_list]
        is_fixture = any("fixture" in text for text in decorators)
        if is_fixture and function.returns and ANY.fullmatch(ast.unparse(function.returns)):
            found.append(function.name)
        if is_fixture or function.name.startswith("test_"):
            for parameter in (*function.args.args, *function.args.kwonlyargs):
                if parameter.annotation and ast.unparse(parameter.annotation) == "Any":
                    found.append(f"{function.name}: {parameter.arg}")
    return found


def private_members(source: Source) -> list[str]:
    """Return private names that are used outside their own object or module."""
    found = []
    for node in source.nodes:
        if isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names]
    return [name for name in found if re.match("_[^_]", name) and name not in OF_OTHER_PACKAGES]


def patched_members(source: Source) -> list[str]:
    """Return patches of the app's functions, methods and objects. Constants may be patched."""
    ours = {
        alias.asname or alias.name.partition(".")[0]
        for node in source.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if APP.match(f"{getattr(node, 'module', alias.name)}.")
    }
    found = []
    for node in source.nodes:
        if isinstance(node, ast.Assign):
            found += [
                ast.unparse(target)
                for target in node.targets
                if isinstance(target, ast.Attribute)
                and ast.unparse(target).partition(".")[0] in ours
                and not target.attr.isupper()
            ]
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in ("setattr", "delattr", "patch", "object"):
            continue
        patch = r"\.(set|del)attr$|\bmock\.patch$|\.patch\.object$"
        if re.search(patch, ast.unparse(node.func)):
            target, *rest = (ast.unparse(argument).strip("'") for argument in node.args)
            is_apart = len(rest) > 1 or (node.func.attr == "delattr" and rest)
            name = rest[0] if is_apart else target.rpartition(".")[2]
            is_ours = bool(APP.match(target)) or target.partition(".")[0] in ours
            if is_ours and not name.isupper():
                found.append(f"{target} {name}")
    return found


def servers(source: Source) -> list[str]:
    """Return the uses of the standard library's HTTP servers."""
    return re.findall(r"http\.server|HTTPServer\(", source.text)


def waits(source: Source) -> list[str]:
    """Return functions with the name of `wait_for`, and loops that sleep until a time."""
    names = [function.name for function in source.functions()]
    found = [name for name in names if name in ("wait_for", "wait_until", "until", "eventually")]
    loops = [ast.unparse(node) for node in source.nodes if isinstance(node, ast.While)]
    return found + [loop for loop in loops if "time.sleep(" in loop and "time.monotonic()" in loop]


def timed_asserts(source: Source) -> list[str]:
    """Return asserts that something took little time: a slow machine would fail them.

    A wait that must not happen is made so long that pytest ends the test.
    """
    asserts = [ast.unparse(node) for node in source.nodes if isinstance(node, ast.Assert)]
    return [
        text for text in asserts if re.search(r"\.(monotonic|perf_counter|time)\(\) - .*<", text)
    ]


def served_functions(source: Source) -> list[str]:
    """Return constants ``FUNCTIONS`` of tests/functions that are no tuple.

    The fixture `served` takes each item as the id of a function, of a text each character.
    """
    if not source.path.startswith("functions/"):
        return []
    return [
        ast.unparse(node)
        for node in source.nodes
        if isinstance(node, ast.Assign)
        and "FUNCTIONS" in [ast.unparse(target) for target in node.targets]
        and not isinstance(node.value, ast.Tuple)
    ]


Rule = Callable[[Source], list[str]]
EXCEPTIONS: Mapping[Rule, Mapping[str, str]] = {
    untyped_fixtures: {},
    private_members: {},
    patched_members: {
        "inside_cvat/test_database.py": "whether CVAT's process has a pool is read at its start",
        "inside_cvat/timed_asgi.py": "it states the time of a view, which works as before",
        "inside_cvat/test_requests.py": "no input makes the lookup of frames raise a new error",
    },
    servers: {
        "http_server.py": "the server",
    },
    waits: {
        "waiting.py": "the function",
        "pausing.py": "a worker waits, not a test",
        "clients/scenario.py": "it runs in environments of other clients, without these modules",
        "bench/tracks.py": "each round recovers the request or kills its worker",
        "bench/load.py": "the time that is left starts again with each call that ends",
        "integration/requests/test_random_kills.py": "each round injects a fault or recovers",
    },
    served_functions: {},
    timed_asserts: {},
}


@pytest.mark.parametrize("rule", EXCEPTIONS, ids=lambda rule: rule.__name__)
def test_no_test_breaks_a_rule(rule: Rule) -> None:
    found = {source.path: rule(source) for source in SOURCES}
    broken = {path: places for path, places in found.items() if places}
    assert {path: places for path, places in broken.items() if path not in EXCEPTIONS[rule]} == {}
    assert EXCEPTIONS[rule].keys() <= broken.keys()  # each exception is still needed


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (untyped_fixtures, "def test_a(task: Any) -> None: ..."),
        (untyped_fixtures, "@pytest.fixture\ndef task(*, user: Any) -> None: ..."),
        (untyped_fixtures, "@pytest.fixture\ndef task() -> Iterator[Any]: ..."),
        (private_members, "limiter._limit = 1"),
        (private_members, "from cvat_lambda.functions.refresh import _claim"),
        (patched_members, "monkeypatch.setattr('cvat_lambda.gateway.payload.encode', 1)"),
        (patched_members, "from cvat_lambda import checks\nmonkeypatch.setattr(checks, 'run', 1)"),
        (patched_members, "from cvat_lambda import checks\nchecks.run = list"),
        (patched_members, "import cvat_lambda.checks as c\nmonkeypatch.setattr(c, 'run', 1)"),
        (patched_members, "import common.images\ncommon.images.crop = list"),
        (patched_members, "from cvat_lambda import checks\nmonkeypatch.delattr(checks, 'run')"),
        (servers, "from http.server import ThreadingHTTPServer"),
        (waits, "def wait_for(): ..."),
        (waits, "while time.monotonic() < end:\n    time.sleep(1)"),
        (timed_asserts, "assert time.monotonic() - began < 60"),
        (served_functions, "FUNCTIONS = 'openvino-mobile-sam'"),
    ],
)
def test_rule_finds_code_that_breaks_it(rule: Rule, text: str) -> None:
    assert rule(Source("functions/test_new.py", text)) != []


def test_patch_of_a_constant_is_allowed() -> None:
    text = "from cvat_lambda.store import queue\nmonkeypatch.setattr(queue, 'TAKEN_AFTER_S', 0)"
    assert patched_members(Source("test_new.py", text)) == []


@pytest.mark.parametrize("data", [gzip.compress(b"an archive holds the time"), b"text"])
def test_name_of_a_case_holds_no_bytes_that_could_differ_in_another_process(
    request: pytest.FixtureRequest, data: bytes
) -> None:
    case = request.node.name.partition("[")[2]
    assert case == ("text]" if data == b"text" else "data]")
