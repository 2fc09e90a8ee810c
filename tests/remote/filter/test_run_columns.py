"""Any option, metric or figure as a column, by the filter's names, and `runs ls --columns`."""

import argparse
import json
import math
from pathlib import Path
from typing import Any, cast

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.cli.columns import cost_of, in_order, list_columns
from remote.cli.runs import runs_parser
from remote.facts.run_facts import RunFacts
from remote.filter.run_columns import FIGURES, column_called, columns_called, names_offered
from remote.fleet.fleet import Fleet
from remote.hosts.book import Host, HostBook
from remote.runs import RunRow
from remote.store.store import Store


def row(name: str, options: dict[str, Any] | None = None, **more: Any) -> RunRow:
    known = {"status": "succeeded", "created_at": 1.0, **more}
    return RunRow(key=f"box/{name}", host="box", run_id=name, name=name, options=options or {}, **known)


ROWS = [
    row(
        "a",
        {"depth": 4, "device": "cuda"},
        latest={"val/bpb": 0.9, "train/loss": 2.5},
        started_at=0.0,
        ended_at=3600.0,
    ),
    row("b", {"depth": 20, "device": "cuda"}, latest={"val/bpb": "NaN"}, results={"min_val_bpb": 0.8}),
    row("c", {"depth": "auto", "out\x1b": True}, latest={"core/core": 0.21}),
]


def texts(name: str) -> list[str]:
    column = column_called(name, ROWS, RunFacts())
    return [column.text(run) for run in ROWS]


def test_options_metrics_results_and_figures_are_read_by_the_names_of_the_filter() -> None:
    assert texts("config.depth") == texts("config.DEPTH") == ["4", "20", "auto"]
    assert texts("val/bpb") == texts("bpb") == ["0.9000", "NaN", ""]
    assert texts("CORE") == ["", "", "0.2100"]
    assert texts("min_val_bpb") == ["", "0.8000", ""]
    assert texts("status") == ["succeeded"] * 3 and texts("time") == ["1h00m", "", ""]
    assert texts("config.out\x1b") == ["", "", "yes"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.dept", "did you mean 'config.depth'"),
        ("bpbb", "did you mean 'bpb'"),
        ("best:lss", "did you mean .*loss"),
        ("spnt", "did you mean 'spent'"),
        ("best:train/lrm", "no metric|has no best"),
        ("\x1b[2J", "no column '␛"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        column_called(name, ROWS, RunFacts())


def test_every_name_that_is_offered_is_a_column_and_what_differs_comes_first() -> None:
    facts = RunFacts()
    names = names_offered(ROWS, facts)
    assert len(columns_called(names, ROWS, facts)) == len(names) == len(set(names))
    assert names.index("config.depth") < names.index("config.device"), "the device is the same in all"
    assert names.index("val/bpb") < names.index("best:val/bpb")
    facts.prices = {"box": 2.0}
    assert names_offered(ROWS, facts)[:2] == ["spent", "forecast"]
    for name in FIGURES:
        assert column_called(name, ROWS, facts).name == name


def test_numbers_before_texts_and_nothing_last_in_both_directions() -> None:
    for name, rising in (("config.depth", ["a", "b", "c"]), ("val/bpb", ["a", "b", "c"])):
        column = column_called(name, ROWS, RunFacts())
        assert [run.name for run in in_order(ROWS, column, False)] == rising
    column = column_called("config.depth", ROWS, RunFacts())
    assert [run.name for run in in_order(ROWS, column, True)] == ["b", "a", "c"]
    assert not any(isinstance(value, float) and math.isnan(value) for value in map(column.value, ROWS))


class Hosts:
    """What the command asks of a fleet."""

    def __init__(self, layout: Layout) -> None:
        self.hosts, self.store = HostBook(layout), Store(layout.store)


async def listed(fleet: Hosts, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    given: argparse.Namespace = runs_parser().parse_args(["ls", *words])
    await list_columns(cast("Fleet", fleet), ROWS, given)
    said = capsys.readouterr()
    return said.out, said.err


async def test_the_command_shows_columns_sorted_with_money_and_their_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = Hosts(Layout(tmp_path))
    out, err = await listed(fleet, capsys, "--columns", "name,spent,config.depth")
    assert "unknown" in out and "no host has a price" in err
    fleet.hosts.add(Host("box", address="box", price_per_hour=2.5))
    out, err = await listed(fleet, capsys, "--columns", "name,spent,config.depth", "--sort", "config.depth")
    lines = [line.split() for line in out.splitlines()]
    assert lines == [["name", "spent", "depth"], ["a", "$2.50", "4"], ["b", "20"], ["c", "auto"]]
    assert err == "$2.50 spent\n"
    out, _ = await listed(fleet, capsys, "--columns", "name,bpb", "--json", "--sort", "name", "--reverse")
    assert json.loads(out) == [
        {"name": "c", "bpb": None},
        {"name": "b", "bpb": None},
        {"name": "a", "bpb": 0.9},
    ]
    with pytest.raises(UserError, match="did you mean"):
        await listed(fleet, capsys, "--columns", "nmae")
    out, _ = await listed(fleet, capsys, "--sort", "name")
    assert out.startswith("run  name  host")
    assert (
        cost_of(cast("Fleet", fleet), ROWS[0]) == "$2.50 spent"
        and cost_of(cast("Fleet", fleet), ROWS[1]) == ""
    )
    fleet.store.close()
