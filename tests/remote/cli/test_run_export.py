"""`nanochat runs export`: every point of a run in CSV and parquet, read back by pyarrow and pandas."""

import argparse
import errno
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nanochat.common.errors import UserError
from remote.cli.export import export
from remote.cli.runs import runs_parser
from remote.export.run_table import METADATA
from remote.runs import RunRow
from remote.store.store import Store

KEY = "box/r1"
Values = Mapping[str, float | str]


def lines() -> Iterator[dict[str, Any]]:
    """Two attempts, the second from step 6; a NaN and an infinity; an evaluation between the steps."""

    def event(kind: str, step: int | None, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"kind": kind, "step": step, "data": data}

    yield event("stage_start", None, {"attempt": 1, "from_step": 0, "total_steps": 12})
    for step in range(10):
        loss: float | str = "NaN" if step == 3 else "Infinity" if step == 4 else 4.0 - step / 10
        yield event("metric", step, {"train/loss": loss, "train/lrm": 1.0, "progress": step / 12})
        if step in (0, 5):
            yield event("eval", step, {"val/bpb": 2.0 - step / 10})
    yield event("metric", None, {"tok/merges": 7})
    yield event("stage_start", None, {"attempt": 2, "from_step": 6, "total_steps": 12})
    for step in range(6, 12):
        yield event("metric", step, {"train/loss": 1.0 + step, "train/lrm": 0.5})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.sqlite")
    run = {"run_id": "r1", "name": "d4", "stage": "base_train", "options": {"depth": 4}}
    store.ingest_state("box", run, {"status": "succeeded"})
    text = "".join(
        json.dumps({"seq": seq, "t": 1000.0 + seq / 4, **line}) + "\n" for seq, line in enumerate(lines())
    )
    store.ingest("box", "r1", "events.jsonl", 0, text.encode())
    return store


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


async def exported(store: Store, *words: str) -> int:
    given: argparse.Namespace = runs_parser().parse_args(["export", "r1", *words])
    run = store.run(KEY)
    assert isinstance(run, RunRow)
    return await export(store, run, given)


async def test_a_row_per_event_with_every_metric_reads_back_exactly(
    store: Store, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await exported(store) == 0
    assert await exported(store, "--format", "parquet") == 0
    assert "wrote r1.csv: 19 rows" in capsys.readouterr().out
    text, table = pd.read_csv(here / "r1.csv"), pq.read_table(here / "r1.parquet")
    where = ["seq", "step", "time", "attempt", "superseded"]
    assert list(text.columns) == [*where, "tok/merges", "train/loss", "train/lrm", "val/bpb"]
    for name in where:
        known = store.series(KEY, "train/loss")
        column = {"time": "t"}.get(name, name)
        loss = table.filter(table["train/lrm"].is_valid())[name].to_pylist()
        assert loss == list(getattr(known, column)), name
    pd.testing.assert_frame_equal(text, pd.read_parquet(here / "r1.parquet"), check_dtype=False)
    assert list(text["step"].dropna()) == [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, *range(6, 12)]
    assert text["superseded"].sum() == 4
    about = json.loads(table.schema.metadata[METADATA])
    assert about["run"] == "r1" and about["options"] == {"depth": 4}


async def test_nan_and_infinity_stay_and_what_was_not_measured_is_null(store: Store, here: Path) -> None:
    await exported(store, "--format", "parquet")
    await exported(store)
    loss = pq.read_table(here / "r1.parquet")["train/loss"].to_pylist()
    assert [value for value in loss if value is not None and not math.isfinite(value)] == [
        pytest.approx(math.nan, nan_ok=True),
        math.inf,
    ]
    assert loss.count(None) == 3  # two evaluations and the count of merges
    cells = [line.split(",")[6] for line in (here / "r1.csv").read_text().splitlines()]
    assert cells[4:7] == ["3.8", "nan", "inf"] and cells[2] == ""


async def test_a_row_per_value_of_chosen_metrics_without_what_a_later_attempt_redid(
    store: Store, here: Path
) -> None:
    await exported(store, "--long", "--metric", "bpb", "--metric", "train/lo*", "--no-superseded")
    found = pd.read_csv(here / "r1.csv")
    assert list(found.columns) == ["seq", "step", "time", "attempt", "superseded", "metric", "value"]
    assert set(found["metric"]) == {"val/bpb", "train/loss"} and not found["superseded"].any()
    loss = found[found["metric"] == "train/loss"]
    assert list(loss["step"]) == list(range(12)) and list(loss["attempt"]) == [1] * 6 + [2] * 6
    assert list(found["seq"]) == sorted(found["seq"])


async def test_a_file_that_is_there_stays_unless_replaced(store: Store, here: Path) -> None:
    (here / "r1.csv").write_text("mine")
    with pytest.raises(UserError, match=r"r1\.csv is there already \(name another with -o, or add --replace"):
        await exported(store)
    assert (here / "r1.csv").read_text() == "mine"
    await exported(store, "--replace")
    assert len(pd.read_csv(here / "r1.csv")) == 19


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "train/lss"], "no metric 'train/lss' .*train/loss"),
        (["-o", "no/such/x.csv"], "there is no folder"),
        (["-o", "x.parquet", "--format", "csv"], "ends in .parquet"),
        (["-o", "-", "--format", "parquet"], "only CSV"),
        (["--format", "xml"], "xml"),
    ],
)
async def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    store: Store, here: Path, words: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        await exported(store, *words)
    assert not list(here.iterdir())


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_full_disk_is_one_line_and_leaves_nothing(
    store: Store, here: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def full(*_: object, **__: object) -> None:
        next(here.iterdir()).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyarrow.csv.write_csv", full)
    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(UserError, match="the disk is full"):
        await exported(store, "--format", form)
    assert not list(here.iterdir())


async def test_a_run_that_measured_nothing_is_one_line(store: Store, here: Path) -> None:
    store.ingest_state("box", {"run_id": "r2"}, {"status": "created"})
    run = store.run("box/r2")
    assert run is not None
    with pytest.raises(UserError, match="measured nothing yet"):
        await export(store, run, runs_parser().parse_args(["export", "r2"]))


async def test_standard_output_holds_the_table_alone(
    store: Store, here: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await exported(store, "-o", "-", "--metric", "val/bpb")
    out = capfdbinary.readouterr().out.decode().splitlines()
    assert len(out) == 3 and out[0].startswith('"seq","step"')
