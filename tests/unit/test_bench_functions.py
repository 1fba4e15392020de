"""The benchmark of the functions: its functions and weights, and the table for the docs."""

from __future__ import annotations

import pytest

from cvat_lambda.runtime.binary_bodies import BINARY_TYPE
from tests.bench import functions as bench
from tests.functions.__main__ import folders
from tests.functions.catalogue.stand_ins.__main__ import STAND_INS
from tests.functions.network_tests import TRANSFORMERS


def test_benchmark_has_cases_for_every_function_but_those_on_transformers() -> None:
    assert {case.function for case in bench.CASES} == set(folders()) - set(TRANSFORMERS)


def test_functions_without_packaged_weights_are_measured_with_a_stand_in() -> None:
    with_stand_in = {case.function for case in bench.CASES if case.network != bench.PACKAGED}
    assert with_stand_in == set(STAND_INS) - set(TRANSFORMERS)


def test_stand_in_of_a_checkpoint_is_random_and_of_a_graph_is_generated() -> None:
    for case in bench.CASES:
        if case.network != bench.PACKAGED:
            is_checkpoint = case.function.startswith("pth-")
            assert (case.network == bench.RANDOM) == is_checkpoint, case.function


@pytest.mark.parametrize(
    ("load", "cores", "words"),
    [
        (0.0, 2, None),
        (0.5, 2, None),  # at the limit
        (0.51, 2, "0.51; above 0.50 (0.25 a core)"),
        (3.0, 16, None),
    ],
)
def test_table_is_refused_above_the_load_limit(load: float, cores: int, words: str) -> None:
    problem = bench.busy(load, cores)
    assert (problem is None) if words is None else (words in str(problem))


def test_table_on_a_busy_machine_is_refused_before_any_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (400.0, 9.0, 9.0))
    with pytest.raises(SystemExit, match=r"the load average of the last minute is 400\.00"):
        bench.main(["--table"])


def test_function_that_announces_it_is_called_with_a_binary_body() -> None:
    body, content_type = bench.body_of("openvino-nanodet-coco", {"image": "AAAA"})
    assert (body[-3:], content_type) == (b"\0\0\0", BINARY_TYPE)


def test_unknown_function_is_named_in_the_error() -> None:
    with pytest.raises(SystemExit, match="yolo: not measured; known are openvino-ssdlite-person"):
        bench.main(["--only", "yolo"])


def test_table_has_a_line_for_each_kind_of_call() -> None:
    first, later = [case for case in bench.CASES if case.function == "openvino-mobile-sam"]
    rows = [bench.row(f"{first.short} worker peak memory", 595.4, "MiB", False)]
    for case, factor in ((first, 10), (later, 1)):
        rows += [
            bench.row(f"{case.key} processor time", 204.0 * factor, "ms", False),
            bench.row(f"{case.key} p50", 108.0 * factor, "ms", False),
            bench.row(f"{case.key} 1 workers", 9.26 / factor, "calls/s", True),
            bench.row(f"{case.key} 2 workers", 14.1 / factor, "calls/s", True),
        ]
    rows.append(bench.share_row(later, 12.4))
    assert bench.table(rows).splitlines()[2:] == [
        "| `openvino-mobile-sam` | first click | its own weights "
        "| 2040 ms | 1080 ms | 0.93 | 1.4 | 595 MiB |  |",
        "| `openvino-mobile-sam` | later click | its own weights "
        "| 204 ms | 108 ms | 9.3 | 14 | 595 MiB | 12 % |",
    ]
