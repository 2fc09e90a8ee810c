"""The list of runs that is kept: after any writes by anyone the same as reading all anew."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.runs import RunRow
from remote.store.run_list import RunList
from remote.store.store import Store

IDS = st.sampled_from(["r1", "r2", "r3"])
HOSTS = st.sampled_from(["a", "b"])


def line(seq: int, kind: str, **data: object) -> bytes:
    return json.dumps({"seq": seq, "t": 1e9 + seq, "kind": kind, "step": seq, "data": data}).encode() + b"\n"


class Writer:
    """Does any one thing to a store that a row shows."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def state(self, host: str, run_id: str, number: int) -> None:
        run = {"run_id": run_id, "name": f"n{number % 3}", "created_at": float(number % 4)}
        status = ("running", "failed", "created")[number % 3]
        self.store.ingest_state(host, run, {"run_id": run_id, "status": status}, here=number % 2 == 0)

    def events(self, host: str, run_id: str, number: int) -> None:
        offset = self.store.offsets(host).get(run_id, {}).get("events.jsonl", 0)
        last = self.store.run(f"{host}/{run_id}")
        seq = last.last_seq + 1 if last else 0
        data = line(seq, "metric", **{"train/loss": number * 0.5}) if number % 5 else b"no event\n"
        self.store.ingest(host, run_id, "events.jsonl", offset, data)

    def early(self, host: str, run_id: str, number: int) -> None:
        self.store.ingest(host, run_id, "events.jsonl", 10_000_000, b"a gap\n")

    def telemetry(self, host: str, run_id: str, number: int) -> None:
        offset = self.store.offsets(host).get(run_id, {}).get("telemetry.jsonl", 0)
        self.store.ingest(host, run_id, "telemetry.jsonl", offset, b"not json\n")

    def damage(self, host: str, run_id: str, number: int) -> None:
        self.store.ingest_problem(host, run_id, f"torn {number % 2}", damaged=number % 2 == 0)

    def forget(self, host: str, run_id: str, number: int) -> None:
        read = self.store.offsets(host).get(run_id, {}).get("events.jsonl", 0)
        self.store.forget(host, run_id, "events.jsonl", read)

    def mark(self, host: str, run_id: str, number: int) -> None:
        key = f"{host}/{run_id}"
        if self.store.run(key) is not None:
            on = number % 2 == 0
            [
                lambda: self.store.pin(key, on),
                lambda: self.store.tag(key, "x", on),
                lambda: self.store.note(key, "well" if on else ""),
                lambda: self.store.archive(key, on),
                lambda: self.store.let_have([key], [f"V{number % 2}"]),
            ][number % 5]()

    def contact(self, host: str, run_id: str, number: int) -> None:
        self.store.contact(host, float(number), 60.0 * (number % 3))

    def drop(self, host: str, run_id: str, number: int) -> None:
        with self.store._database.write() as db:
            db.execute("DELETE FROM runs WHERE host = ? AND run_id = ?", (host, run_id))


WRITES = ("state", "events", "early", "telemetry", "damage", "forget", "mark", "contact", "drop")
A_WRITE = st.tuples(st.sampled_from(WRITES), HOSTS, IDS, st.integers(0, 30))


def without_contact(rows: list[RunRow]) -> list[RunRow]:
    """Ended runs do not care when their host was last heard."""
    return [row if row.at_work else replace(row, last_contact=0.0) for row in rows]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(A_WRITE, min_size=1, max_size=4), st.booleans()), max_size=8))
def test_after_any_writes_the_list_is_what_reading_all_gives(rounds: list[tuple[list[tuple], bool]]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with Store(path) as store, Store(path) as another:
            kept = RunList(store)
            for writes, by_another in rounds:
                writer = Writer(another if by_another else store)
                for what, host, run_id, number in writes:
                    getattr(writer, what)(host, run_id, number)
                assert without_contact(kept.update()) == without_contact(store.runs())


def test_a_row_that_did_not_change_is_the_same_object(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        writer = Writer(store)
        for number, run_id in enumerate(("r1", "r2", "r3")):
            writer.state("a", run_id, number)
        kept = RunList(store)
        before = {row.run_id: row for row in kept.update()}
        writer.events("a", "r2", 3)
        after = {row.run_id: row for row in kept.update()}
        assert after["r1"] is before["r1"] and after["r3"] is before["r3"]
        assert after["r2"].latest == {"train/loss": 1.5}


def test_only_changed_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from remote.store import run_rows

    with Store(tmp_path / "store.sqlite") as store:
        writer = Writer(store)
        for number in range(200):
            store.ingest_state(
                "a", {"run_id": f"q{number}", "created_at": float(number)}, {"status": "failed"}
            )
        kept = RunList(store)
        assert len(kept.update()) == 200
        made: list[str] = []
        real = run_rows.run_row
        monkeypatch.setattr(run_rows, "run_row", lambda row, marks: made.append(row[2]) or real(row, marks))
        writer.events("a", "q7", 1)
        store.pin("a/q9")
        made.clear()
        kept.update()
        kept.update()
        assert sorted(made) == ["q7", "q9"]
