"""``script/bench``: run the benchmarks and print their results."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from typing import Any

SUITES = (
    "batch",
    "calls",
    "connections",
    "runtime",
    "load",
    "functions",
    "tracking",
    "tracks",
    "scale",
    "memory",
    "hosts",
    "agents",
)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--short", action="store_true", help="small sizes")
    parser.add_argument(
        "--smoke", action="store_true", help="each scenario briefly: do the benchmarks still run?"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="ID", help="of `functions`: this function"
    )
    return parser.parse_args()


def reached(row: dict[str, Any]) -> bool | None:
    """Return whether a row reaches its goal, or None if it has no goal."""
    if row["goal"] is None:
        return None
    better: bool = row["value"] >= row["goal"]
    return better if row["higher_is_better"] else bool(row["value"] <= row["goal"])


def print_row(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    goal = ""
    if row["goal"] is not None:
        goal = f"{'>=' if row['higher_is_better'] else '<='} {row['goal']:g}"
    verdict = {None: "", True: "reached", False: "NOT reached"}[reached(row)]
    print(f"{row['name']:<44} {row['value']:>12.4g} {row['unit']:<12} {goal:<10} {verdict}")


def run_apart(suites: list[str], command_line: list[str]) -> int:
    """Run each suite in a process of its own, because they set Django up differently."""
    options = [argument for argument in command_line if argument not in SUITES]
    status = 0
    for name in suites:
        child = subprocess.run([sys.executable, "-m", "tests.bench", name, *options], check=False)
        status = status or child.returncode
    return status


def main() -> int:
    """Run the suites in order. The exit status says whether they ran, not whether goals are met."""
    arguments = parse()
    suites = ["smoke"] if arguments.smoke else arguments.suites or list(SUITES)
    if len(suites) > 1:
        return run_apart(suites, sys.argv[1:])
    module = importlib.import_module(f"tests.bench.{suites[0]}")
    more = {"only": arguments.only} if suites == ["functions"] else {}
    for row in module.run() if arguments.smoke else module.run(short=arguments.short, **more):
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            print_row(row)
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
