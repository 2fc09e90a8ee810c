"""The store: any interleaving of crashes, torn chunks, repeats and reconnects stores each event once."""

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.run.events import EventWriter, parse_line
from remote.runs import Attempt, superseded_from
from remote.store.schema import MIGRATIONS
from remote.store.series import BLOCK, Series
from remote.store.store import Store
from remote.store.summary import metric_name

ROOT = Path(__file__).resolve().parents[3]
KEY = "box/r1"


def line(seq: int, kind: str = "metric", step: int | None = None, t: float = 0.0, **data: object) -> bytes:
    record = {"seq": seq, "t": t or 1e9 + seq, "kind": kind, "data": data}
    if step is not None:
        record["step"] = step
    return json.dumps(record).encode() + b"\n"


def training_log(steps: int, attempts: int = 1) -> bytes:
    """A run of `attempts` attempts, each resumed from the middle of the one before."""
    lines, seq = [], 0
    for attempt in range(1, attempts + 1):
        first = 0 if attempt == 1 else steps // 2
        lines.append(
            line(seq, "stage_start", attempt=attempt, from_step=first, total_steps=steps, unit="step")
        )
        seq += 1
        for step in range(first, steps):
            lines.append(
                line(seq, step=step, **{"train/loss": 5 - step / steps + attempt, "progress": step / steps})
            )
            seq += 1
    return b"".join(lines)


def feed(store: Store, log: bytes, chunk: int = 4096, run_id: str = "r1") -> None:
    offset = store.offsets("box").get(run_id, {}).get("events.jsonl", 0)
    while offset < len(log):
        done = store.ingest("box", run_id, "events.jsonl", offset, log[offset : offset + chunk])
        if done.offset == offset:  # a line longer than the chunk
            chunk *= 2
        offset = done.offset


def check_whole(store: Store, log: bytes) -> None:
    """The store holds the log's events, in order, once each, and the series that follow from them."""
    events = [event for raw in log.splitlines() if (event := parse_line(raw))]
    assert store.events(KEY) == events
    assert store.offsets("box")["r1"]["events.jsonl"] == len(log)
    attempt, points = 0, []
    for event in events:
        if event.kind == "stage_start":
            attempt = event.data["attempt"]
        elif "train/loss" in event.data:
            points.append((event.seq, event.step, event.t, event.data["train/loss"], attempt))
    assert store.series(KEY, "train/loss").points() == points


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_torn_repeated_and_early_chunks_stores_each_event_once(data: st.DataObject) -> None:
    log = training_log(data.draw(st.integers(0, 40)), data.draw(st.integers(1, 3)))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "c.sqlite")
        stored = 0
        for _ in range(data.draw(st.integers(0, 12))):
            start = data.draw(st.integers(0, len(log)))
            end = data.draw(st.integers(start, len(log)))
            done = store.ingest("box", "r1", "events.jsonl", start, log[start:end])
            assert done.outcome in (("gap",) if start > stored else ("ok", "known"))
            assert done.offset >= stored and log[: done.offset].endswith(b"\n" * bool(done.offset))
            stored = done.offset
            assert [e.seq for e in store.events(KEY)] == list(range(log[:stored].count(b"\n")))
            if data.draw(st.booleans()):
                store.close()
                store = Store(Path(folder) / "c.sqlite")
        feed(store, log, data.draw(st.sampled_from([7, 300, 100_000])))
        check_whole(store, log)
        store.close()


INGEST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from remote.store.store import Store
log = Path(sys.argv[2]).read_bytes()
store = Store(Path(sys.argv[1]))
offset = store.offsets("box").get("r1", {{}}).get("events.jsonl", 0)
print("go", flush=True)
while offset < len(log):
    offset = store.ingest("box", "r1", "events.jsonl", offset, log[offset:offset + 900]).offset
"""


def ingesting(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", INGEST, str(folder / "c.sqlite"), str(folder / "log")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.slow
def test_an_ingest_killed_again_and_again_ends_with_every_event_once(tmp_path: Path) -> None:
    log = training_log(4000, 2)
    (tmp_path / "log").write_bytes(log)
    chance = random.Random(1)
    killed = 0
    for _ in range(20):
        process = ingesting(tmp_path)
        time.sleep(chance.uniform(0.0, 0.08))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        with Store(tmp_path / "c.sqlite") as store:
            seen = store.events(KEY)
            assert [event.seq for event in seen] == list(range(len(seen)))
            offset = store.offsets("box").get("r1", {}).get("events.jsonl", 0)
            assert log[:offset].count(b"\n") == len(seen)
    assert killed > 5
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, log)
        check_whole(store, log)


def test_two_processes_that_ingest_the_same_log_store_it_once(tmp_path: Path) -> None:
    log = training_log(1500, 2)
    (tmp_path / "log").write_bytes(log)
    processes = [ingesting(tmp_path) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with Store(tmp_path / "c.sqlite") as store:
        check_whole(store, log)


@pytest.mark.slow
def test_many_threads_read_whole_prefixes_while_one_writes(tmp_path: Path) -> None:
    log = training_log(1600)
    store = Store(tmp_path / "c.sqlite")
    done, faults = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            points = store.series(KEY, "train/loss").points()
            seqs = [point[0] for point in points]
            if seqs != list(range(1, len(seqs) + 1)):
                faults.append(seqs)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    feed(store, log, 700)
    done.set()
    for reader in readers:
        reader.join()
    assert not faults
    check_whole(store, log)
    store.close()


def test_closing_while_threads_read_and_write_ends_them_cleanly(tmp_path: Path) -> None:
    log = training_log(3000)
    for _ in range(15):
        store = Store(tmp_path / "c.sqlite")
        ended: list[str] = []

        def use(act: Callable[[], object], ended: list[str] = ended) -> None:
            try:
                while True:
                    act()
            except sqlite3.ProgrammingError as error:
                ended.append(str(error))

        acts = [
            lambda s=store: s.events(KEY),
            lambda s=store: s.series(KEY, "train/loss").points(),
            lambda s=store: feed(s, log),
        ]
        threads = [threading.Thread(target=use, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        store.close()
        for thread in threads:
            thread.join(10)
        assert ended == ["the store is closed"] * 3
    with Store(tmp_path / "c.sqlite") as again:
        feed(again, log)
        check_whole(again, log)


def test_what_the_writer_of_logs_writes_is_what_is_read(tmp_path: Path) -> None:
    with EventWriter(tmp_path / "events.jsonl") as log:
        log.emit("stage_start", data={"attempt": 1, "from_step": 0, "total_steps": 3, "unit": "step"})
        log.emit("metric", step=0, data={"train/loss": float("nan"), "gpu/0/name": "H100"})
        log.emit("metric", step=1, data={"train/loss": float("-inf"), "eta_s": 7.5, "progress": 0.25})
        log.emit("eval", step=1, data={"val/bpb": 1.5})
        log.emit("eval", step=2, data={"val/bpb": 1.25})
        log.emit("unheard_of", step=2, data={"deep": {"er": [1, None, "ünï\u2028"]}})
        log.emit("stage_end", data={"status": "succeeded", "error": "", "results": {"bpb": 1.25}})
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest_state("box", {"run_id": "r1", "stage": "base_train"}, {"status": "succeeded"})
        feed(store, (tmp_path / "events.jsonl").read_bytes())
        assert [event.seq for event in store.events(KEY)] == list(range(9))  # two alerts for the non-finite
        values = [point[3] for point in store.series(KEY, "train/loss").points()]
        assert math.isnan(values[0]) and values[1] == -math.inf
        run = store.run(KEY)
        assert run is not None
        assert (run.step, run.total_steps, run.progress, run.alerts) == (2, 3, 0.25, 2)
        assert (
            run.latest["val/bpb"] == 1.25
            and run.first["val/bpb"] == 1.5
            and run.latest["gpu/0/name"] == "H100"
        )
        assert run.results == {"bpb": 1.25} and run.eta_s is None
        assert store.metric_names(KEY) == ["train/loss", "val/bpb"]
        (odd,) = store.events(KEY, kinds=["unheard_of"])
        assert odd.data == {"deep": {"er": [1, None, "ünï⟨2028⟩"]}}


def test_what_an_attempt_ended_with_is_no_result_of_the_next(tmp_path: Path) -> None:
    with EventWriter(tmp_path / "events.jsonl") as log:
        for attempt, bpb in ((1, 1.5), (2, 1.25)):
            log.emit("stage_start", data={"attempt": attempt, "from_step": attempt, "total_steps": 9})
            log.emit("eval", step=attempt, data={"val/bpb": bpb})
            if attempt == 1:
                log.emit("stage_end", data={"status": "failed", "error": "x", "results": {"val/bpb": bpb}})
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest_state("box", {"run_id": "r1", "stage": "base_train"}, {"status": "running"})
        feed(store, (tmp_path / "events.jsonl").read_bytes())
        run = store.run(KEY)
        assert run is not None and run.results == {} and run.latest["val/bpb"] == 1.25


def test_lines_that_are_no_event_are_counted_and_passed_over(tmp_path: Path) -> None:
    bad = [b"", b"junk", b"[]", b'{"seq": -1, "t": 1, "kind": "x"}', b'{"seq": 1e99}', b"\xff\xfe\x00",
           b'{"seq": 99999999999999999999, "t": 1, "kind": "x"}',
           b'{"seq": 1, "t": NaN, "kind": "x", "data": {}}',
           b"[" * 50_000]  # fmt: skip
    log = line(0) + b"\n".join(bad) + b"\n" + line(1)
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, log)
        assert [event.seq for event in store.events(KEY)] == [0, 1]
        assert store.bad_lines(KEY) == {"events.jsonl": len(bad)}


@pytest.mark.parametrize("points", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_a_series_reads_the_same_from_any_point_on(tmp_path: Path, points: int) -> None:
    log = b"".join(line(seq, step=seq, x=seq / 7) for seq in range(points))
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, log, 30_000)
        whole = store.series(KEY, "x").points()
        assert whole == [(seq, seq, 1e9 + seq, seq / 7, 0) for seq in range(points)]
        for after in {-1, 0, BLOCK - 2, BLOCK - 1, BLOCK, points - 2, points - 1, points}:
            assert store.series(KEY, "x", after).points() == [point for point in whole if point[0] > after]


def test_what_a_later_attempt_redid_is_marked_not_deleted(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, training_log(10, 3))
        series = store.series(KEY, "train/loss")
        current = [
            (step, attempt)
            for step, attempt, old in zip(series.step, series.attempt, series.superseded, strict=True)
            if not old
        ]
        assert current == [(step, 1) for step in range(5)] + [(step, 3) for step in range(5, 10)]
        assert len(series) == 10 + 5 + 5
        assert [attempt.from_step for attempt in store.attempts(KEY)] == [0, 5, 5]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_a_step_counts_only_in_the_last_attempt_that_reached_back_to_it(starts: list[int]) -> None:
    attempts = [Attempt(i + 1, start, i, 0.0, 0) for i, start in enumerate(starts)]
    cut = superseded_from(attempts)
    for attempt in attempts:
        for step in range(25):
            redone = any(later.from_step <= step for later in attempts if later.attempt > attempt.attempt)
            assert (step >= cut.get(attempt.attempt, 1 << 60)) == redone


def test_a_log_that_lost_its_end_on_the_host_is_read_again(tmp_path: Path) -> None:
    """After a power cut the host's file may be shorter and then go on differently."""
    before = training_log(20)
    lost = b"".join(before.splitlines(keepends=True)[:10])
    after = lost + b"".join(line(seq, "log", text=f"again {seq}") for seq in range(10, 40))
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, before)
        tail = after[len(before) :]
        done = store.ingest("box", "r1", "events.jsonl", len(before), tail)
        assert done.outcome == "diverged" and done.offset == 0
        feed(store, after)
        check_whole(store, after)


def test_a_last_line_that_was_lost_and_written_anew_longer_is_noticed(tmp_path: Path) -> None:
    kept = training_log(5)
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, kept + line(6, "log", text="lost"))
        after = kept + line(6, "log", text="another and longer") + line(7, "log", text="next")
        offset = store.offsets("box")["r1"]["events.jsonl"]
        assert store.ingest("box", "r1", "events.jsonl", offset, after[offset:]).outcome == "diverged"
        feed(store, after)
        check_whole(store, after)


def test_a_log_with_a_hole_of_its_own_is_kept_and_does_not_loop(tmp_path: Path) -> None:
    log = b"".join(line(seq) for seq in (0, 1, 5, 5, 3, 6))
    with Store(tmp_path / "c.sqlite") as store:
        for _ in range(8):
            offset = store.offsets("box").get("r1", {}).get("events.jsonl", 0)
            store.ingest("box", "r1", "events.jsonl", offset, log[offset:][:120])
        feed(store, log)
        assert [event.seq for event in store.events(KEY)] == [0, 1, 5, 6]


def test_a_snapshot_never_replaces_a_newer_state(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        run = {"run_id": "r1", "stage": "x"}
        assert store.ingest_state("box", run, {"status": "running", "heartbeat": 5.0}, snapshot=True)
        assert store.ingest_state("box", run, {"status": "succeeded", "heartbeat": 9.0})
        assert not store.ingest_state("box", run, {"status": "running", "heartbeat": 7.0}, snapshot=True)
        found = store.run(KEY)
        assert found is not None and found.status == "succeeded"


def test_a_run_is_found_by_key_id_name_and_start(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        for run_id, name in (("20260101-a", "first"), ("20260102-b", "second"), ("20260102-c", "second")):
            store.ingest_state("box", {"run_id": run_id, "name": name}, {"status": "running"})
        assert store.find("box/20260101-a").run_id == "20260101-a"
        assert store.find("20260102-c").run_id == "20260102-c"
        assert store.find("first").run_id == store.find("202601010"[:8]).run_id == "20260101-a"
        with pytest.raises(UserError, match="means 2 runs"):
            store.find("second")
        with pytest.raises(UserError, match="first"):
            store.find("frist")
        with pytest.raises(UserError):
            store.find("")


def test_tags_notes_and_pins_stay(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest_state("box", {"run_id": "r1"}, {})
        store.tag(KEY, "good")
        store.tag(KEY, "bad")
        store.tag(KEY, "bad", on=False)
        store.note(KEY, "one")
        store.note(KEY, "two")
        store.pin(KEY)
        store.archive(KEY)
        with pytest.raises(UserError, match="no run"):
            store.pin("box/unknown")
    with Store(tmp_path / "c.sqlite") as store:
        run = store.run(KEY)
        assert run is not None and (run.tags, run.note, run.pinned) == (("good",), "two", True)
        assert run.archived
        store.archive(KEY, on=False)
        run = store.run(KEY)
        assert run is not None and not run.archived


def test_what_a_run_may_be_handed_is_kept_apart_from_what_its_host_tells(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        for run_id in ("r1", "r2"):
            store.ingest_state("box", {"run_id": run_id, "env": ["A", "SECRET"]}, {})
        store.let_have([KEY, "box/r2"], ["B", "A"])
        store.let_have([KEY], ["A", "C"])
        store.let_have([KEY], [])
        with pytest.raises(UserError, match="no run"):
            store.let_have(["box/unknown"], ["A"])
        rows = {run.run_id: run for run in store.runs()}
    assert (rows["r1"].env, rows["r1"].pass_env) == (("A", "SECRET"), ("A", "B", "C"))
    assert rows["r2"].pass_env == ("A", "B")


def copy_as_first_version(new: Path, old: Path) -> None:
    """What a store holds, as the first version of the program would have written it."""
    db = sqlite3.connect(old)
    db.executescript(MIGRATIONS[0])
    db.execute("ATTACH ? AS new", (str(new),))
    for (table,) in db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
        columns = ", ".join(column[1] for column in db.execute(f"PRAGMA main.table_info({table})"))
        db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    for metric, first, form, blob in db.execute(
        "SELECT metric, first_seq, form, data FROM new.blocks"
    ).fetchall():
        block = Series()
        block.extend_packed(form, blob)
        columns = (block.seq, block.step, block.t, block.value, block.attempt)
        data = b"".join(column.tobytes() for column in columns)
        db.execute(
            "UPDATE main.blocks SET data = ? WHERE metric = ? AND first_seq = ?", (data, metric, first)
        )
    db.execute("PRAGMA main.user_version = 1")
    db.commit()
    db.close()


def test_a_store_of_an_older_version_is_brought_up_with_all_it_holds(tmp_path: Path) -> None:
    log = training_log(BLOCK + 100)
    with Store(tmp_path / "new.sqlite") as store:
        feed(store, log)
        store.tag(KEY, "good")
        store.note(KEY, "well")
        store.pin(KEY)
    copy_as_first_version(tmp_path / "new.sqlite", tmp_path / "c.sqlite")
    with Store(tmp_path / "c.sqlite") as store:
        check_whole(store, log)
        run = store.run(KEY)
        assert run is not None and (run.tags, run.note, run.pinned) == (("good",), "well", True)
        assert (run.pass_env, run.archived, run.partial) == ((), False, False)
        assert [row.key for row in store.changed_runs(-1).rows] == [KEY]
        store.let_have([KEY], ["A"])
        store.archive(KEY)
        run = store.run(KEY)
        assert run is not None and (run.pass_env, run.archived) == (("A",), True)
        feed(store, log + training_log(BLOCK + 100, attempts=2)[len(log) :])
        assert len(store.series(KEY, "train/loss")) == BLOCK + 100 + (BLOCK + 100) // 2


def test_a_file_that_is_no_store_and_one_of_a_newer_version_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "junk.sqlite").write_bytes(b"not a database" * 500)
    with pytest.raises(UserError, match="cannot use the store"):
        Store(tmp_path / "junk.sqlite")
    Store(tmp_path / "c.sqlite").close()
    db = sqlite3.connect(tmp_path / "c.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()
    with pytest.raises(UserError, match="newer version"):
        Store(tmp_path / "c.sqlite")


def test_metrics_of_version_0_1_0_are_read_by_their_present_names(tmp_path: Path) -> None:
    old = {"rl/mixed": 0.5, "rl/ended": 1.0, "rl/reward": 0.7}
    present = {"rl/finished_fraction": 1.0, "rl/mixed_reward_fraction": 0.5, "rl/reward": 0.7}
    db = sqlite3.connect(tmp_path / "c.sqlite")
    db.executescript(MIGRATIONS[0])
    db.execute("INSERT INTO runs (id, host, run_id, summary) VALUES (1, 'box', 'r1', ?)", [summary_json(old)])
    for number, (name, value) in enumerate(old.items()):
        db.execute("INSERT INTO metrics (id, run, name, tail) VALUES (?, 1, ?, 1)", (number, name))
        db.execute("INSERT INTO points VALUES (?, 0, 0, 0.0, ?, 1)", (number, value))
    db.execute("INSERT INTO files (run, file, last_seq) VALUES (1, 'events.jsonl', 0)")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    with Store(tmp_path / "c.sqlite") as store:
        assert store.metric_names(KEY) == sorted(present)
        run = store.run(KEY)
        assert run is not None and run.latest == present
        store.ingest("box", "r1", "events.jsonl", 0, line(1, step=1, **old))
        assert store.metric_names(KEY) == sorted(present)
        assert list(store.series(KEY, "rl/finished_fraction").value) == [1.0, 1.0]


def summary_json(latest: dict[str, float]) -> str:
    return json.dumps({"latest": latest})


def test_processes_that_make_the_store_at_once_all_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from remote.store.store import Store;"
        "s = Store(Path(sys.argv[1])); s.ingest_state('box', {'run_id': sys.argv[2]}, {}); s.close()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "c.sqlite")]
    makers = [subprocess.Popen([*argv, f"r{i}"], cwd=ROOT) for i in range(6)]
    assert [maker.wait() for maker in makers] == [0] * 6
    with Store(tmp_path / "c.sqlite") as store:
        assert {run.run_id for run in store.runs()} == {f"r{i}" for i in range(6)}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        log = training_log(20_000)
        store = Store(disk / "c.sqlite")
        with pytest.raises(UserError, match="free some space") as caught:
            feed(store, log, 65_536)
        assert caught.value.exit_code == 1
        seen = store.events(KEY)
        offset = store.offsets("box")["r1"]["events.jsonl"]
        assert len(seen) == log[:offset].count(b"\n") > 0
        assert [event.seq for event in seen] == list(range(len(seen)))
        store.close()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        with Store(disk / "c.sqlite") as again:
            feed(again, log)
            check_whole(again, log)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.slow
def test_a_hundred_thousand_steps_of_eight_metrics_read_in_a_second(tmp_path: Path) -> None:
    names = [f"train/m{i}" for i in range(8)]
    log = b"".join(
        b'{"seq":%d,"t":%d,"kind":"metric","step":%d,"data":{%s}}\n'
        % (seq, seq, seq, b",".join(b'"%s":%r' % (name.encode(), seq * 0.5) for name in names))
        for seq in range(100_000)
    )
    with Store(tmp_path / "c.sqlite") as store:
        feed(store, log, 262_144)
        started = time.process_time()
        read = [store.series(KEY, name) for name in names]
        spent = time.process_time() - started
        assert all(len(series) == 100_000 and series.value[-1] == 99_999 * 0.5 for series in read)
        assert spent < 1.0


@pytest.mark.parametrize(("folder", "mode"), [(0o755, 0o600), (0o2775, 0o660)], ids=["own", "a group's"])
def test_the_store_is_as_private_as_the_runs_in_it(tmp_path: Path, folder: int, mode: int) -> None:
    base = tmp_path / "base"
    base.mkdir()
    base.chmod(folder)
    path = base / "c.sqlite"
    before = os.umask(0o002)
    try:
        with Store(path) as store:
            store.contact("box", 1.0)
            assert {file.name: file.stat().st_mode & 0o777 for file in base.iterdir()} == dict.fromkeys(
                ("c.sqlite", "c.sqlite-wal", "c.sqlite-shm"), mode
            )
        path.chmod(0o664)  # as an earlier version made it
        with Store(path) as store:
            assert path.stat().st_mode & 0o777 == mode and store.last_contact("box") == 1.0
    finally:
        os.umask(before)


@given(st.text(max_size=400) | st.text("\u202e\x1b\tx", min_size=100, max_size=300))
def test_a_metrics_name_is_bounded_and_kept_as_it_is_when_read_again(name: str) -> None:
    kept = metric_name(name)
    assert len(kept) <= 120 and metric_name(kept) == kept
