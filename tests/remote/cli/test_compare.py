"""`nanochat runs compare`: the figures of the Compare screen as text, Markdown, csv and JSON."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from comparison_runs import Runs, bpb, start, step

from bench.parts.runs import make_base
from nanochat.common.errors import UserError
from remote.cli.compare import compare
from remote.cli.runs import runs as runs_command
from remote.cli.runs import runs_parser


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    runs = Runs(tmp_path / "store.sqlite")
    for depth, count in ((4, 20), (6, 30)):
        events = [
            event for at in range(count) for event in (bpb(at, 3 - at / 50), step(at, 5 - at / depth / 10))
        ]
        options = {"depth": depth, "max_seq_len": 512}
        runs.add(f"d{depth}", events=[start(**options), *events], **options)
    return runs


def said(runs: Runs, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    given = runs_parser().parse_args(["compare", "r1", "r2", *words])
    assert compare(runs.store, [runs.store.find(name) for name in given.run], given) == 0
    return capsys.readouterr().out


def test_all_forms_tell_the_same_figures(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(said(runs, capsys, "--json", "--at", "10", "--gap", "train/loss"))
    common = {one["metric"]: one for one in document["metrics"] if one["place"] == "common"}
    values = [cell["value"] for cell in common["train/loss"]["values"]]
    assert values == pytest.approx([5 - 19 / 40, 5 - 19 / 60])
    assert common["train/loss"]["at"] == 19
    assert common["train/loss"]["differences"] == [None, pytest.approx(values[1] - values[0])]
    assert document["gaps"][0]["points"][-1] == pytest.approx([19, values[1] - values[0]])
    assert {one["name"] for one in document["settings"] if one["differs"]} == {"depth"}

    rows = list(csv.reader(io.StringIO(said(runs, capsys, "--csv", "--at", "10"))))
    assert rows[0] == ["section", "name", "at", "box/r1", "box/r2"]
    found = {(row[0], row[1]): row[2:] for row in rows}
    assert [float(cell) for cell in found["metric common", "train/loss"]] == pytest.approx([19, *values])
    assert found["option ≠", "depth"] == ["", "4", "6"]
    assert "option" in {section for section, _ in found}
    for form in ("--csv", "--json"):
        shown = said(runs, capsys, form, "--differences")
        assert "max_seq_len" not in shown and "depth" in shown

    text = said(runs, capsys, "--at", "50%", "--differences")
    assert "metrics at the last common point: step 19" in text
    assert "metrics at step 9.5" in text  # half of what both reach
    assert re.search(r"train/loss +step 9\.5 +4\.76[23] +4\.842 +\+0\.0792", text)
    assert "max_seq_len" not in text and "depth" in text

    markdown = said(runs, capsys, "--md")
    assert "## metrics where each run ends" in markdown and "| train/loss" in markdown


def test_a_group_tells_the_settings_of_all_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(tmp_path / "store.sqlite")
    for depth, seed in ((4, 1), (4, 2), (6, 1)):
        runs.add(f"d{depth}", events=[start(depth=depth, seed=seed), step(0, 5.0)], depth=depth, seed=seed)
    words = ("r3", "--group", "seed")
    rows = list(csv.reader(io.StringIO(said(runs, capsys, *words, "--csv"))))
    assert rows[0] == ["section", "name", "at", "AB", "C"]
    found = {row[1]: row[3:] for row in rows if row[0].startswith("option")}
    assert (found["seed"], found["depth"]) == (["1 | 2", "1"], ["4", "6"])
    assert re.search(r"\| seed +\| 1 +\| 2 +\| 1 +\|", said(runs, capsys, *words, "--md"))
    document = json.loads(said(runs, capsys, *words, "--json"))
    assert [one["values"] for one in document["settings"] if one["name"] == "seed"] == [[1, 2, 1]]


def test_at_equal_tokens(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(runs, capsys, "--axis", "tokens", "--metric", "loss", "--at", "1k")
    assert "metrics at 1.00k tokens" in text and "val/bpb" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at", "soon"], "'soon' is no place on the axis step"),
        (["--at", "150%"], "'150%' is no place"),
        (["--gap", "reward"], "no two of these runs have a metric 'reward'"),
        (["--smooth", "1"], "--smooth 1 is no share"),
        (["r1"], "a run is named twice"),
        (["--at", "1"] * 21, "--at is given 21 times, at most 20"),
        (["--band", "stderr"], "--band is of groups"),
        (["--metric", "reward"], "no two of these runs have a metric 'reward'"),
    ],
)
def test_what_is_not_understood_is_one_line(
    runs: Runs, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        said(runs, capsys, *words)


def test_runs_of_a_host_are_read_before_they_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    make_base(base, steps=20, stages=("base_train", "mid_train"))
    first, second = sorted(path.name for path in (base / "runs").iterdir())
    assert runs_command(["compare", first, second, "--json", "--base-dir", str(base)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in document["runs"]] == [f"local/{first}", f"local/{second}"]
    assert {one["metric"] for one in document["metrics"]} >= {"train/loss", "val/bpb"}
    assert document["notes"][0].startswith("stages differ")
    with pytest.raises(UserError, match="no run 'nosuch'"):
        runs_command(["compare", first, "nosuch", "--base-dir", str(base)])
