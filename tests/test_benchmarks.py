"""The benchmarks' own arithmetic; what they measure is for `scripts/bench`."""

from __future__ import annotations

import importlib
import json
import pkgutil
import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import benchmarks
from benchmarks import figures
from benchmarks.bed import Options, stepped
from benchmarks.figures import Aim, Row, median, percentile, row_of_medians, table

MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_every_module_with_a_measure_is_a_case() -> None:
    cases = importlib.import_module("benchmarks.__main__").CASES
    modules = [importlib.import_module(f"benchmarks.{name}") for name in MODULES]
    assert set(cases) == {module.CASE for module in modules if hasattr(module, "measure")}


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [
        pytest.param([7.0], 95, 7.0, id="one-sample"),
        pytest.param([3.0, 1.0, 2.0], 100, 3.0, id="the-largest"),
        pytest.param([3.0, 1.0, 2.0], 0, 1.0, id="the-smallest"),
        pytest.param([float(n) for n in range(1, 101)], 95, 95.0, id="nearest-rank"),
        pytest.param([1.0, 2.0], 50, 1.0, id="half-of-two"),
    ],
)
def test_a_percentile_is_one_of_the_samples(
    samples: list[float], percent: float, expected: float
) -> None:
    assert percentile(samples, percent) == expected


@pytest.mark.parametrize(
    ("samples", "percent"), [([], 50), ([1.0], 101), ([1.0], -1)], ids=["none", "above", "below"]
)
def test_a_percentile_that_there_is_not_is_an_error(samples: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(samples, percent)


def test_a_median_of_nothing_is_an_error() -> None:
    with pytest.raises(statistics.StatisticsError):
        median([])


def test_a_ratio_is_that_of_the_medians() -> None:
    row = row_of_medians("case", "what", [1.0, 2.0, 100.0], [3.0, 4.0, 5.0], aim=0.5)
    assert (row.ours, row.beside, row.ratio) == (2.0, 4.0, 0.5)


@pytest.mark.parametrize(
    ("row", "met"),
    [
        pytest.param(Row("c", "w", 1.05, 1.0, aim=Aim(1.05)), True, id="at-the-limit"),
        pytest.param(Row("c", "w", 1.06, 1.0, aim=Aim(1.05)), False, id="above-the-limit"),
        pytest.param(Row("c", "w", 9.0, 1.0, aim=Aim(10, "ours")), True, id="of-ours-alone"),
        pytest.param(Row("c", "w", 1.0, None, aim=Aim(2)), False, id="nothing-beside"),
        pytest.param(Row("c", "w", 1.0, 0.0, aim=Aim(2)), False, id="zero-beside"),
        pytest.param(Row("c", "w", 1.0, 1.0), None, id="no-aim"),
    ],
)
def test_an_aim_is_met_up_to_its_limit(row: Row, met: bool | None) -> None:
    assert row.met is met


def test_the_table_has_a_line_for_each_row_and_columns_of_one_width() -> None:
    rows = [
        Row("a", "short", 1.2345, 1.0, aim=Aim(1.05)),
        Row("b", "count", 1, unit="", aim=Aim(1, "ours")),
        Row("c", "a longer name", 1234.5, unit="ms"),
    ]
    lines = table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["a", "short", "1.234 s", "1.000 s", "1.234", "ratio ≤ 1.050", "NO"]
    assert cells[3] == ["b", "count", "1", "-", "-", "ours ≤ 1", "yes"]
    assert cells[4] == ["c", "a longer name", "1,234.5 ms", "-", "-", "-", "-"]


def test_a_row_goes_into_json_with_its_samples() -> None:
    row = row_of_medians("case", "what", [1.0], [2.0], aim=1.0)
    found = json.loads(json.dumps(row.as_json()))
    assert found["ratio"] == 0.5
    assert found["met"] is True
    assert found["samples"] == {"ours": [1.0], "beside": [2.0]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(Options(), 9, id="the-case's-own"),
        pytest.param(Options(quick=True), 2, id="quick"),
        pytest.param(Options(runs=4, quick=True), 4, id="said"),
    ],
)
def test_runs_that_are_asked_for_come_first(options: Options, expected: int) -> None:
    assert options.repeat(9) == expected


def test_a_stepped_dockerfile_has_its_steps_behind_what_changes() -> None:
    lines = stepped(3).splitlines()
    assert lines[1] == "COPY nonce /nonce"
    assert sum(line.startswith("RUN ") for line in lines) == 3


def test_what_figures_exports_is_there() -> None:
    assert all(hasattr(figures, name) for name in figures.__all__)
