"""The quick ways by which a long log is taken in and read out give what the slow ones give."""

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.run.event_rows import EventRows, parse_lines
from nanochat.run.events import Event, parse_line
from remote.store import database
from remote.store import series as columns
from remote.store.database import StoreUnwritable
from remote.store.fold import fold_events
from remote.store.series import BLOCK, LARGEST, ROWS, STRETCHES, Series, SeriesReader, blocks_of, pack
from remote.store.store import Store
from remote.store.summary import Summary, series_values

KEY = "box/r1"

numbers = (
    st.floats() | st.integers(-(1 << 70), 1 << 70) | st.booleans() | st.sampled_from(["NaN", "text", "é\x7f"])
)
values = st.dictionaries(
    st.sampled_from(["train/loss", "val/bpb", "progress", "rl/mixed", "data", "a\nb"]), numbers
)
events = st.builds(
    lambda seq, t, kind, step, data: {"seq": seq, "t": t, "kind": kind, "step": step, "data": data},
    st.integers(0, 1 << 64),
    st.floats(0, 1e12) | st.integers(0, 10),
    st.sampled_from(["metric", "eval", "stage_start", "Log", "x" * 70]),
    st.none() | st.integers(-5, 1 << 63),
    values | st.none() | st.lists(st.integers()),
)
damage = st.sampled_from(
    [
        b"",
        b"{}",
        b"[1]",
        b'{"seq":1,"t":1,"kind":"metric","data":{}',
        b'{"seq":1,"t":1,"kind":"metric","data":{}}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{},"data":{"a":1}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{"a":1},{"b":2}}',
        b'{"seq":01,"t":1,"kind":"metric","data":{}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{} } ',
        b'{"seq":1,"t":1.5e3,"kind":"metric","step":-0,"data":{"x":NaN}}',
        b'{"seq":1,"t":1,"kind":"metric","data":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        # Data that would be whole only together with the data of a line beside it, or is more than one value.
        b'{"seq":1,"t":1,"kind":"metric","data":{"a":1},{"b":2}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{"a":"x}',
        b'{"seq":1,"t":1,"kind":"metric","data":{","c":1}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{"a":[1}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{]}}',
        b'{"seq":1,"t":1,"kind":"metric","data":{"a":{"b":1}}',
        b"\xff\xfe",
        '{"seq":1,"t":1,"kind":"log","data":{"text":"ü"}}'.encode(),
    ]
)
lines = st.lists(
    events.map(lambda event: json.dumps(event, separators=(",", ":")).encode())
    | events.map(lambda event: json.dumps({k: v for k, v in event.items() if v is not None}).encode())
    | damage,
    max_size=12,
)


@settings(deadline=None)
@given(lines)
def test_lines_taken_together_are_read_as_one_by_one(raw: list[bytes]) -> None:
    slow = [parse_line(line) for line in raw]
    fast = parse_lines(b"".join(line + b"\n" for line in raw))
    known = [event for event in slow if event is not None]
    assert [repr(fast.event(index)) for index in range(len(fast.rows))] == [repr(event) for event in known]
    assert fast.lines == len(raw) and fast.begins == (not slow or slow[0] is not None)
    for *_, text in fast.rows:
        assert text.isascii()
    again = [parse_line('{"seq":0,"t":0,"kind":"x","data":' + row[4] + "}") for row in fast.rows]
    assert [repr(event and event.data) for event in again] == [repr(event.data) for event in known]


def plain(kind: str, count: int, names: list[str], step: int | None, values: list[float]) -> list[Event]:
    return [
        Event(
            0,
            float(i),
            kind,
            None if step is None else step + i,
            dict.fromkeys(names, values[i % len(values)]),
        )
        for i in range(count)
    ]


stretch = st.builds(
    plain,
    st.sampled_from(["metric", "metric", "metric", "eval", "alert", "stage_start"]),
    st.integers(1, 30),
    st.lists(st.sampled_from(["a", "b", "progress", "eta_s", "a\n", "e" * 200]), unique=True),
    st.none() | st.integers(-3, 100),
    st.lists(
        st.floats() | st.integers(-(1 << 40), 1 << 40) | st.sampled_from(["NaN", "x", True]), min_size=1
    ),
)


@settings(deadline=None)
@given(st.lists(stretch, max_size=6), st.integers(0, 3))
def test_events_folded_by_columns_leave_what_folding_each_leaves(parts: list[list[Event]], room: int) -> None:
    log = [event for part in parts for event in part]
    log = [Event(seq, e.t, e.kind, e.step, e.data) for seq, e in enumerate(log)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("remote.store.summary.MOST_METRICS", room)
        one_by_one, points = Summary(), dict[str, list[tuple[int, int, float, float, int]]]()
        for event in log:
            one_by_one.fold(event)
            for name, value in series_values(event):
                step = -1 if event.step is None else event.step
                points.setdefault(name, []).append((event.seq, step, event.t, value, one_by_one.attempt))
        together = Summary()
        rows = EventRows()
        for event in log:
            rows.add(event)
        folded = fold_events(together, rows)
    assert repr(together) == repr(one_by_one)
    assert {name: repr(series.points()) for name, series in folded.items()} == {
        name: repr(list(rows)) for name, rows in points.items()
    }


def series_of(rows: list[tuple[int, int, float, float, int]]) -> Series:
    series = Series()
    for row in rows:
        series.append(row)
    return series


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1 << 62),
            st.integers(-1, 3) | st.integers(-(1 << 63), (1 << 63) - 1),
            st.floats(allow_nan=False),
            st.floats(),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_points_are_packed_and_read_back(rows: list[tuple[int, int, float, float, int]]) -> None:
    series, again = series_of(rows), Series()
    again.extend_packed(*pack(series, {}))
    assert repr(again.points()) == repr(series.points())


def test_points_of_a_training_take_sixteen_bytes() -> None:
    rows = [(7 + 3 * i, 10 * i, 1e9 + i, 0.5, 2) for i in range(BLOCK)]
    form, blob = pack(series_of(rows), {})
    assert form == STRETCHES and len(blob) == 16 * BLOCK + 56
    rows[200:] = [(seq + 1, step, *rest) for seq, step, *rest in rows[200:]]  # an evaluation in between
    assert len(pack(series_of(rows), {})[1]) == 16 * BLOCK + 104
    rows = [(i * i, i, 1e9 + i, 0.5, 2) for i in range(BLOCK)]
    assert pack(series_of(rows), {})[0] == ROWS
    with pytest.raises(ValueError, match="not whole"):
        Series().extend_packed(STRETCHES, blob[:-1])


def test_what_comes_at_once_is_packed_into_large_blocks_and_no_point_is_lost() -> None:
    series = series_of([(i, i, 0.0, 0.0, 1) for i in range(2 * LARGEST + BLOCK + 5)])
    blocks, tail = blocks_of(series)
    assert [len(block) for block in blocks] == [LARGEST, LARGEST, BLOCK] and len(tail) == 5
    assert [seq for part in (*blocks, tail) for seq in part.seq] == list(range(len(series)))


def log_of(steps: int) -> bytes:
    """Two metrics a step, an evaluation of one metric every seventh."""
    lines = []
    for step in range(steps):
        lines.append({"kind": "metric", "step": step, "data": {"a": step / 2, "b": -step}})
        if step % 7 == 0:
            lines.append({"kind": "eval", "step": step, "data": {"c": float(step)}})
    records = [{"seq": seq, "t": 1e9 + seq, **line} for seq, line in enumerate(lines)]
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


@pytest.mark.parametrize("cut", [0, 1, 300, 513, 4000])
def test_metrics_of_the_same_events_are_read_with_the_same_columns(tmp_path: Path, cut: int) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest("box", "r1", "events.jsonl", 0, log_of(5000))
        alone = {name: store.series(KEY, name) for name in "abc"}
        assert [list(alone[name].step[:3]) for name in "abc"] == [[0, 1, 2], [0, 1, 2], [0, 7, 14]]
        after = {name: alone[name].seq[cut - 1] for name in "ab"} if cut else {}
        together = store.all_series(KEY, after)
        assert together["a"].t is together["b"].t and together["a"].seq is together["b"].seq
        assert together["c"].t is not together["a"].t
        for name in "ab":
            assert together[name].points() == alone[name].points()[cut:]
            assert len(together[name].superseded) == 5000 - cut
        assert store.all_series(KEY, {name: series.seq[-1] for name, series in alone.items()}) == {}


metric = st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 3), st.integers(0, 60))
"""Which steps a metric has: from, to before, every how many, and where it skips one."""


@settings(deadline=None)
@given(st.lists(metric, min_size=1, max_size=5), st.integers(-1, 80))
def test_series_read_together_are_what_each_is_alone(
    metrics: list[tuple[int, int, int, int]], after: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "BLOCK", 4)
        patch.setattr(columns, "LARGEST", 8)
        reader = SeriesReader()
        for number, (first, end, rise, skipped) in enumerate(metrics):
            steps = [step for step in range(first, end, rise) if step != skipped]
            points = series_of([(2 * step, step, step / 2, float(number), 1 + step // 30) for step in steps])
            blocks, tail = blocks_of(points)
            packed = [pack(block, {}) for block in blocks]
            wanted = [point for point in points.points() if point[0] > after]
            reaching = [
                (form, blob)
                for (form, blob), block in zip(packed, blocks, strict=True)
                if block.seq[-1] > after
            ]
            start = sum(seq <= after for seq in tail.seq)
            read = reader.read(iter(reaching), tail.part(start, len(tail)), after)
            assert read.points() == wanted
            same = [known.series for known in reader._known if known.series.same_keys(read)]
            assert len(same) == 1 and same[0].t is read.t, "equal columns are kept once"


def test_the_store_knows_how_much_of_a_log_it_has(tmp_path: Path) -> None:
    log = log_of(10_000)
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest_state("box", {"run_id": "r1"}, {"status": "succeeded"}, sizes={"events.jsonl": len(log)})
        run = store.run(KEY)
        assert run is not None and run.partial and (run.read_bytes, run.size_bytes) == (0, len(log))
        assert store.unread_bytes("box") == len(log) and store.unread_bytes("other") == 0
        half = log.rfind(b"\n", 0, len(log) // 2) + 1
        store.ingest("box", "r1", "events.jsonl", 0, log[:half])
        run = store.run(KEY)
        assert run is not None and run.partial and run.read_bytes == half
        store.ingest("box", "r1", "events.jsonl", half, log[half:] + b'{"torn')
        run = store.run(KEY)
        assert run is not None and not run.partial and store.unread_bytes("box") == 0


def test_why_a_store_cannot_be_written_is_told_and_forgotten_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(database, "STEADY", 0.0)
    path = tmp_path / "c.sqlite"
    with Store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnwritable, match="another program holds it locked"):
            store.contact("box", 1.0)
        assert "locked" in store.trouble and "space" not in store.trouble
        other.execute("ROLLBACK")
        store.contact("box", 2.0)
        assert store.trouble == "" and store.last_contact("box") == 2.0
        pages = other.execute("PRAGMA page_count").fetchone()[0]
        with store._database.using() as db:
            db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnwritable, match="the disk is full") as full:
            store.ingest("box", "r1", "events.jsonl", 0, log_of(2000))
        assert "free some space" in str(full.value) and store.trouble == str(full.value)
        with store._database.using() as db:
            db.execute("PRAGMA max_page_count = 100000")
        assert store.ingest("box", "r1", "events.jsonl", 0, log_of(2000)).outcome == "ok"
        assert store.trouble == ""
        other.close()


def test_one_write_that_succeeds_does_not_end_the_trouble(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        store.note_trouble("the disk is full")
        store.contact("box", 1.0)
        assert store.trouble == "the disk is full"
        store._database._failed -= database.STEADY
        store.contact("box", 2.0)
        assert store.trouble == ""


def test_a_defect_of_ours_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        with pytest.raises(sqlite3.OperationalError), store._database.write() as db:
            db.execute("INSERT INTO nowhere VALUES (1)")
        assert store.trouble == ""


def test_a_store_opens_while_another_process_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "c.sqlite").close()
    other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    with Store(tmp_path / "c.sqlite") as store:
        assert store.runs() == []
    other.close()
