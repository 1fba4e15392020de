"""Make or compare a fixture: ``python -m tests.functions.catalogue.makers NAME [--compare]``.

NAME is a fixture's name before ``.outputs.json``. Run it with an interpreter that has the
reference package that the maker's docstring names; the functions' own environments have none.
``--compare`` writes nothing and prints the largest difference from the file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from tests.functions.catalogue.recipes import DATA, fixture

#: fixture -> modules of this package in the order of import: modules that make the reference
#: package loadable, then the maker with its function ``make``
MAKERS = {
    "hrnet_w32": ("torchvision_ops", "openmmlab", "hrnet"),
    "iog": ("iog_loader", "iog"),
    "retinanet_r101": ("torchvision_ops", "detectron2_loader", "retinanet"),
    "rtmdet_nano": ("torchvision_ops", "openmmlab", "rtmdet"),
    "sam_small": ("torchvision_ops", "sam"),
    "transt": ("torchvision_ops", "transt_loader", "transt"),
}


def differences(first: Any, second: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Yield the difference of each number of two contents; infinity if the structure differs."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted({*first, *second}):
            yield from differences(first.get(key), second.get(key), f"{where}.{key}".strip("."))
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for one, other in zip(first, second, strict=True):
            yield from differences(one, other, where)
    elif _is_number(first) and _is_number(second):
        yield where, abs(first - second)
    else:
        yield where, 0.0 if first == second else float("inf")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def main(arguments: list[str]) -> int:
    """Write the fixture, or compare it with the file. Exit status 1: the structure differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.functions.catalogue.makers")
    parser.add_argument("name", choices=sorted(MAKERS))
    parser.add_argument("--compare", action="store_true", help="write nothing")
    given = parser.parse_args(arguments)
    *_, maker = (importlib.import_module(f"{__package__}.{name}") for name in MAKERS[given.name])
    file = f"{given.name}.outputs.json"
    made = json.loads(json.dumps(maker.make()))
    if not given.compare:
        (DATA / file).write_text(json.dumps(made) + "\n", encoding="utf-8")
        return 0
    largest: dict[str, float] = {}
    for where, distance in differences(fixture(file), made):
        largest[where] = max(largest.get(where, 0.0), distance)
    for where, distance in largest.items():
        sys.stdout.write(f"{where}: {distance:.3g}\n")
    return 0 if max(largest.values()) < float("inf") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
