"""What the benches print: one table, whose columns are as wide as their figures."""

from pathlib import Path

from bench.parts.report import report

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_figures_and_bars_stand_in_columns_however_long_they_are() -> None:
    rows = [
        ("wire to screen", "39 · 67 · 1,240 ms", "99 %: 100 ms"),
        ("a note that has no bar at all", "0", ""),
    ]
    assert list(report("answers at 200x60", rows)) == [
        "answers at 200x60                                           bar",
        "wire to screen                 39 · 67 · 1,240 ms  99 %: 100 ms",
        "a note that has no bar at all                   0",
    ]


def test_the_table_is_printed_in_one_place() -> None:
    assert [path.name for path in sorted(BENCH.glob("*.py")) if "{bar:>" in path.read_text("utf-8")] == []
