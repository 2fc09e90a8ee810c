"""What a run has cost, by its host's price and the time of all its attempts; and the best it came to."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.facts.money import Cost, brief, cost, dollars, forecast_text, spent_text, told, total
from remote.facts.run_facts import RunFacts, earlier_seconds
from remote.hosts.book import Host
from remote.runs import RunRow
from remote.store.series import Series
from remote.store.store import Store

HOUR = 3600.0


def run(**more: Any) -> RunRow:
    known = {"status": "running", "attempt": 1, "started_at": 1000.0, **more}
    return RunRow(key="box/r", host="box", run_id="r", **known)


def test_two_hours_at_a_price_and_half_an_hour_to_go() -> None:
    found = cost(run(eta_s=HOUR / 2), 24.0, 1000.0 + 2 * HOUR)
    assert (found.spent, found.forecast) == (48.0, 60.0)
    assert told(found) == "$48.00 spent, $60.00 forecast" and brief(found) == "$48.00 of $60.00"
    with_earlier = cost(run(eta_s=HOUR / 2), 24.0, 1000.0 + 2 * HOUR, earlier=HOUR)
    assert (with_earlier.spent, with_earlier.forecast) == (72.0, 84.0)


@pytest.mark.parametrize(
    "row",
    [
        run(status="succeeded", ended_at=1000.0 + HOUR, eta_s=HOUR),
        run(status="failed", ended_at=1000.0 + HOUR),
        run(status="running", eta_s=None),
        run(status="running", eta_s=math.nan),
        run(status="running", eta_s=60.0, read_bytes=0, size_bytes=1 << 30),
    ],
)
def test_only_a_run_that_goes_on_and_tells_its_end_has_a_forecast(row: RunRow) -> None:
    found = cost(row, 10.0, 1000.0 + HOUR)
    assert found.spent == 10.0 and found.forecast is None
    if row.eta_s is None or row.status != "running" or row.partial:
        assert forecast_text(row, found) == ""


def test_an_unknown_price_or_time_is_unknown_and_never_nothing() -> None:
    for found in (cost(run(), None, 9000.0), cost(run(attempt=2), 2.0, 9000.0, earlier=None)):
        assert found == Cost(started=True) and spent_text(found) == "unknown" and told(found) == ""
    assert spent_text(cost(run(started_at=None, status="created"), None, 9000.0)) == ""
    assert spent_text(cost(run(), 0.0, 9000.0)) == "$0.00"


def test_sums_leave_nothing_out_unsaid() -> None:
    costs = [Cost(10.0, 12.5, True), Cost(5.0, None, True), Cost(started=True), Cost()]
    assert total(costs) == "$15.00 spent, $17.50 forecast, 1 run unknown"
    assert total([Cost(5.0, None, True)]) == "$5.00 spent"
    assert total([Cost(started=True), Cost()]) == ""


@given(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0, 1e6))
def test_money_only_grows_with_time(seconds: float, price: float, more: float) -> None:
    one, two = (cost(run(eta_s=1.0), price, 1000.0 + at).spent for at in (seconds, seconds + more))
    assert one is not None and two is not None and 0 <= one <= two


@pytest.mark.parametrize(
    ("value", "text"), [(0.416, "$0.42"), (53.6, "$53.60"), (1234.5, "$1,234"), (None, "unknown")]
)
def test_dollars(value: float | None, text: str) -> None:
    assert dollars(value) == text


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.sqlite")
    store.ingest_state("box", {"run_id": "r"}, {"status": "running", "attempt": 3, "started_at": 5000.0})
    return store


def write(store: Store, events: Iterable[tuple[float, str, int | None, Mapping[str, Any]]]) -> None:
    """Appends events to the run's log."""
    lines = [
        json.dumps({"seq": seq, "t": t, "kind": kind, "step": step, "data": data})
        for seq, (t, kind, step, data) in enumerate(events, len(store.events("box/r")))
    ]
    offset = store.offsets("box").get("r", {}).get("events.jsonl", 0)
    store.ingest("box", "r", "events.jsonl", offset, ("\n".join(lines) + "\n").encode())


def start(attempt: int, from_step: int) -> Mapping[str, Any]:
    return {"attempt": attempt, "from_step": from_step, "total_steps": 9}


def test_attempts_count_from_their_start_to_their_last_event_and_bests_skip_what_was_redone(
    store: Store,
) -> None:
    events: list[tuple[float, str, int | None, Mapping[str, Any]]] = [
        (1000.0, "stage_start", None, start(1, 0)),
        (1100.0, "eval", 2, {"val/bpb": 1.5, "core/core": 0.1}),
        (1300.0, "eval", 4, {"val/bpb": 0.5, "core/core": 0.9}),  # redone
        (3000.0, "stage_start", None, start(2, 3)),
        (3050.0, "eval", 4, {"val/bpb": "NaN", "core/core": 0.2}),
        (5000.0, "stage_start", None, start(3, 4)),
        (5010.0, "eval", 4, {"val/bpb": 1.2, "core/core": 0.15}),
    ]
    write(store, events)
    assert earlier_seconds(store, "box/r") == 300.0 + 50.0

    facts = RunFacts()
    facts.set_hosts([Host("local", kind="local"), Host("box", price_per_hour=36.0)])
    (row,) = store.runs()
    assert facts.priced and facts.cost(row, 5000.0).spent is None, "not read yet"
    wanted = {"val/bpb", "core/core", "train/lrm"}
    assert facts.fill(store, [row], wanted)
    assert facts.best(row, "val/bpb") == 1.2 and facts.earlier(row) == 350.0
    assert facts.best(row, "core/core") == 0.15 and facts.best(row, "train/lrm") is None
    assert not facts.fill(store, [row], wanted), "nothing new, nothing read"

    write(store, [(7000.0, "stage_start", None, start(4, 4))])
    (row,) = store.runs()
    assert row.attempt == 4 and facts.earlier(row) is None, "what was read leaves the third attempt out"
    assert facts.cost(row, 7000.0).spent is None
    assert facts.fill(store, [row], ()) and facts.earlier(row) == 360.0


def test_a_best_reads_on_and_begins_anew_with_an_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read = Store.series

    def series(self: Store, key: str, name: str, after_seq: int = -1) -> Series:
        asked.append(after_seq)
        return read(self, key, name, after_seq)

    monkeypatch.setattr(Store, "series", series)
    write(store, [(1.0, "stage_start", None, start(1, 0))])
    facts = RunFacts()
    found = []
    for event in (
        (2.0, "eval", 1, {"val/bpb": 2.0}),
        (3.0, "eval", 2, {"val/bpb": 1.0}),
        (4.0, "eval", 3, {"val/bpb": 1.5}),
        (5.0, "stage_start", None, start(2, 2)),  # steps 2 and 3 count no longer
        (6.0, "eval", 2, {"val/bpb": 1.75}),
        (7.0, "eval", 3, {"val/bpb": "NaN"}),
    ):
        write(store, [event])
        (row,) = store.runs()
        facts.fill(store, [row], {"val/bpb"})
        found.append(facts.best(row, "val/bpb"))
    assert found == [2.0, 1.0, 1.0, 2.0, 1.75, 1.75]
    assert asked == [-1, 1, 2, -1, 3, 5]


def test_what_did_not_change_is_not_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, [(1.0, "stage_start", None, start(1, 0)), (2.0, "eval", 1, {"val/bpb": 2.0})])
    facts = RunFacts()
    (row,) = store.runs()
    facts.fill(store, [row], {"val/bpb"})
    monkeypatch.setattr(Store, "series", lambda *_: pytest.fail("read again"))
    facts.fill(store, [row], {"val/bpb"})
    assert facts.best(row, "val/bpb") == 2.0
