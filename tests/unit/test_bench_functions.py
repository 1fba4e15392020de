"""The benchmark of the functions: its functions and weights, and the table for the docs."""

from __future__ import annotations

import pytest

from cvat_lambda.runtime.binary_bodies import BINARY_TYPE
from tests.bench import functions as bench
from tests.bench.function_cases import CASES, GENERATED, ON_TRANSFORMERS, PACKAGED, RANDOM
from tests.functions.__main__ import folders
from tests.functions.catalogue.stand_ins.__main__ import STAND_INS


def needs_transformers(function: str) -> bool:
    return "transformers==" in (folders()[function] / "requirements.txt").read_text()


def test_benchmark_has_cases_for_every_function() -> None:
    assert {case.function for case in (*CASES, *ON_TRANSFORMERS)} == set(folders())
    on_transformers = {case.function for case in ON_TRANSFORMERS}
    assert on_transformers == {name for name in folders() if needs_transformers(name)}


def test_functions_without_packaged_weights_are_measured_with_a_stand_in() -> None:
    measured = {case.function for case in (*CASES, *ON_TRANSFORMERS) if case.network != PACKAGED}
    assert measured == set(STAND_INS)


def test_stand_in_of_a_checkpoint_is_random_and_of_a_graph_is_generated() -> None:
    for case in CASES:
        if case.network != PACKAGED:
            is_checkpoint = case.function.startswith("pth-")
            assert case.network == (RANDOM if is_checkpoint else GENERATED), case.function


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
    first, later, *_ = [case for case in CASES if case.function == "openvino-mobile-sam"]
    rows = [bench.row(f"{first.short} worker peak memory", 595.4, "MiB", False)]
    for case, factor in ((first, 10), (later, 1)):
        rows += [
            bench.row(f"{case.key} processor time", 204.0 * factor, "ms", False),
            bench.row(f"{case.key} p50", 108.0 * factor, "ms", False),
            bench.row(f"{case.key} 1 workers", 9.26 / factor, "calls/s", True),
            bench.row(f"{case.key} 2 workers", 14.1 / factor, "calls/s", True),
        ]
    rows.append(bench.share_row(later, 12.4))
    assert bench.table(rows).splitlines() == [
        "| function | call | measured with | processor time | median | calls/s, 1 worker "
        "| calls/s, 2 workers | memory of a worker | outside the network |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
        "| `openvino-mobile-sam` | first click | its own weights "
        "| 2040 ms | 1080 ms | 0.93 | 1.4 | 595 MiB |  |",
        "| `openvino-mobile-sam` | later click | its own weights "
        "| 204 ms | 108 ms | 9.3 | 14 | 595 MiB | 12 % |",
    ]


def test_table_of_functions_with_one_worker_has_no_column_for_two() -> None:
    [case] = [case for case in ON_TRANSFORMERS if case.function == "hf-google-owlv2"]
    rows = [
        bench.row(f"{case.short} weights", 619.8, "MB", False),
        bench.row(f"{case.short} worker peak memory", 1893.0, "MiB", False),
        bench.row(f"{case.key} processor time", 9120.0, "ms", False),
        bench.row(f"{case.key} p50", 4800.0, "ms", False),
        bench.row(f"{case.key} 1 workers", 0.208, "calls/s", True),
    ]
    assert bench.table(rows).splitlines() == [
        "| function | call | measured with | weights | processor time | median "
        "| calls/s, 1 worker | memory of a worker |",
        "|---|---|---|---:|---:|---:|---:|---:|",
        "| `hf-google-owlv2` | frame with one text | random weights | 620 MB | 9120 ms | 4800 ms "
        "| 0.21 | 1893 MiB |",
    ]


@pytest.mark.parametrize(
    ("only", "transformers", "names"),
    [
        ((), True, {case.function for case in ON_TRANSFORMERS}),
        ((), False, {case.function for case in CASES}),
        (("hf-google-owlv2",), True, {"hf-google-owlv2"}),
        (("hf-google-owlv2",), False, {"hf-google-owlv2"}),
    ],
)
def test_functions_on_transformers_are_measured_only_on_demand(
    only: tuple[str, ...], transformers: bool, names: set[str]
) -> None:
    assert set(bench.chosen(only, short=False, transformers=transformers)) == names
