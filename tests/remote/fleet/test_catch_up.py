"""A host that is far ahead is read in a process of its own, with the same result and nothing held up."""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.fleet import taker
from remote.fleet.fleet import Fleet
from remote.fleet.follower import Follower, Resync, joined
from remote.fleet.intake import Intake
from remote.runs import Change
from remote.store.database import StoreUnwritable
from remote.store.store import Store
from remote.transport.child import start_child

RUN_ID = "20260101-000000-base_train-0001"
KEY = f"local/{RUN_ID}"


def log_of(steps: int, first: int = 0) -> bytes:
    lines = [
        {
            "seq": step,
            "t": 1e9 + step,
            "kind": "metric",
            "step": step,
            "data": {"train/loss": 1 / (1 + step), "é": step},
        }
        for step in range(first, first + steps)
    ]
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def write_run(layout: Layout, log: bytes) -> Path:
    path = layout.base / "runs" / RUN_ID
    path.mkdir(parents=True)
    run = {
        "schema": 1,
        "run_id": RUN_ID,
        "name": "big",
        "stage": "base_train",
        "created_at": 1e9,
        "argv": ["x"],
    }
    state = {"schema": 1, "run_id": RUN_ID, "status": "succeeded", "attempt": 1, "heartbeat": 1e9}
    (path / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (path / "events.jsonl").write_bytes(log)
    return path


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


def frame(offset: int, log: bytes) -> dict[str, object]:
    where = {"run_id": RUN_ID, "file": "events.jsonl", "offset": offset}
    return {**where, "type": "chunk", "next": offset + len(log), "data": log.decode()}


def chunks(log: bytes, size: int = 2000) -> list[dict[str, object]]:
    frames, at = [], 0
    while at < len(log):
        end = log.rfind(b"\n", at, at + size) + 1
        frames.append(frame(at, log[at:end]))
        at = end
    return frames


async def test_a_far_ahead_host_is_read_by_a_process_and_then_followed_as_usual(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker, "MUCH", 100_000)
    monkeypatch.setattr(taker, "LITTLE", 10_000)
    started = []
    real = Intake.start

    async def start(*given: object) -> Intake:
        started.append(given)
        return await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Intake, "start", start)
    log = log_of(12_000)
    path = write_run(layout, log)
    fleet, heard = Fleet(layout), list[Change]()
    fleet.subscribe(heard.append)
    try:
        await fleet.start()
        await until(lambda: len(fleet.store.series(KEY, "train/loss")) == 12_000)
        run = fleet.store.run(KEY)
        assert (
            run is not None and not run.partial and run.read_bytes == len(log) and run.status == "succeeded"
        )
        assert len(started) == 1 and any(change.kind == "events" and change.key == KEY for change in heard)
        assert [event.seq for event in fleet.store.events(KEY)] == list(range(12_000))
        heard.clear()
        with (path / "events.jsonl").open("ab") as file:
            file.write(log_of(3, 12_000))
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        (path / "state.json").write_text(json.dumps({**state, "heartbeat": 2e9}), encoding="utf-8")
        await until(lambda: len(fleet.store.series(KEY, "train/loss")) == 12_003)
        assert len(started) == 1
        await until(lambda: any(change.kind == "events" for change in heard))
    finally:
        await fleet.aclose()


async def test_frames_given_to_the_process_are_committed_in_order_and_told(tmp_path: Path) -> None:
    log, heard = log_of(2_000), list[Change]()
    with Store(tmp_path / "c.sqlite") as store:
        intake = await Intake.start(store.path, "local", heard.extend)
        try:
            for one in chunks(log):
                await intake.give(json.dumps(one).encode())
            await intake.give(b'{"type":"ping","t":1.0}')
            await intake.settle()
            assert len(store.events(KEY)) == 2_000 and {change.key for change in heard} == {KEY}
        finally:
            await intake.close()


BROKEN_FRAMES = [
    b'{"type":"chunk","run_id"',
    b'{"type"',
    b"[1]",
    b"",
    b"\xff\xfe",
    b'{"type":' * 5_000,
    b'{"type":"chunk","offset":' + b"9" * 5_000 + b"}",
]


async def test_a_line_that_is_no_frame_costs_nothing_else(tmp_path: Path) -> None:
    log = log_of(500)
    with Store(tmp_path / "c.sqlite") as store:
        intake = await Intake.start(store.path, "local", lambda changes: None)
        try:
            async with asyncio.timeout(20):
                for one in chunks(log):
                    for broken in BROKEN_FRAMES:
                        await intake.give(broken)
                    await intake.give(json.dumps(one).encode())
                await intake.settle()
            assert len(store.events(KEY)) == 500
        finally:
            await intake.close()


async def test_the_users_own_modules_are_not_taken_for_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the queue of somebody')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with Store(tmp_path / "c.sqlite") as store:
        intake = await Intake.start(store.path, "local", lambda changes: None)
        try:
            async with asyncio.timeout(20):
                await intake.give(json.dumps(frame(0, log_of(5))).encode())
                await intake.settle()
            assert len(store.events(KEY)) == 5
        finally:
            await intake.close()


async def test_what_its_listener_raises_is_raised_where_frames_are_given(tmp_path: Path) -> None:
    def broken(changes: list[Change]) -> None:
        raise ZeroDivisionError

    with Store(tmp_path / "c.sqlite") as store:
        intake = await Intake.start(store.path, "local", broken)
        try:
            with pytest.raises(ZeroDivisionError):
                async with asyncio.timeout(20):
                    await intake.give(json.dumps(frame(0, log_of(5))).encode())
                    await intake.settle()
        finally:
            await intake.close()


async def test_a_gap_and_a_locked_store_come_back_as_what_they_are(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        intake = await Intake.start(store.path, "local", lambda changes: None)
        try:
            with pytest.raises(Resync, match="gap at 500"):
                await intake.give(json.dumps(frame(500, log_of(1))).encode())
                await intake.settle()
        finally:
            await intake.close()
        argv = [sys.executable, "-c", _IMPATIENT, str(store.path), "local"]
        intake = Intake(await start_child(argv), "local", lambda changes: None)
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(StoreUnwritable, match="another program holds it locked"):
                await intake.give(json.dumps(frame(0, log_of(5))).encode())
                await intake.settle()
        finally:
            await intake.close()
            other.close()


_IMPATIENT = """
import sys
from remote.store import database
from remote.fleet.intake import main
database._BUSY_SECONDS = 0.1
sys.exit(main(sys.argv[1:]))
"""


async def test_a_process_that_is_gone_is_told_and_not_waited_for(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        intake = await Intake.start(store.path, "local", lambda changes: None)
        try:
            os.kill(intake._process.pid, 9)
            with pytest.raises(UserError, match="the process that reads the logs of 'local' ended"):
                async with asyncio.timeout(20):
                    for one in chunks(log_of(500)):
                        await intake.give(json.dumps(one).encode())
                    await intake.settle()
        finally:
            await intake.close()


def test_chunks_that_follow_each_other_are_taken_as_one(tmp_path: Path) -> None:
    log = log_of(300)
    frames = chunks(log)
    mixed = [*frames[:3], {"type": "ping", "t": 1.0}, *frames[3:6], *frames[7:9], frames[6]]
    taken = list(joined(mixed))
    assert [count for _, count in taken] == [3, 1, 3, 2, 1]
    assert [one.get("offset") for one, _ in taken] == [
        0,
        None,
        frames[3]["offset"],
        frames[7]["offset"],
        frames[6]["offset"],
    ]
    with Store(tmp_path / "c.sqlite") as store:
        for one, _ in joined(frames):
            Follower(store, "local").take(one)
        assert len(store.events(KEY)) == 300 and store.offsets("local")[RUN_ID]["events.jsonl"] == len(log)
