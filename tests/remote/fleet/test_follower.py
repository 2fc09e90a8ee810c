"""Frames from a host become stored events exactly once, whatever the stream, the link and the disk do."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.fleet.follower import Follower, Resync
from remote.runs import Change
from remote.store.store import Store

RUN, FILE, KEY = "20260101-120000-base_train-ab12", "events.jsonl", "box/20260101-120000-base_train-ab12"


def line(seq: int, text: str = "") -> bytes:
    return json.dumps({"seq": seq, "t": 1e9 + seq, "kind": "log", "data": {"text": text}}).encode() + b"\n"


def chunk(offset: int, data: bytes, file: str = FILE) -> dict[str, Any]:
    """A chunk frame as the agent sends it: whole lines, decoded."""
    text = data.decode("utf-8", "replace")
    return {
        "type": "chunk", "run_id": RUN, "file": file, "offset": offset, "next": offset + len(data),
        "data": text,
    }  # fmt: skip


class HostLog:
    """A host's log and the streams an agent would make of it."""

    def __init__(self) -> None:
        self.data = b""
        self.seq = 0

    def write(self, lines: int) -> None:
        for _ in range(lines):
            self.data += line(self.seq, f"line {self.seq} ß")
            self.seq += 1

    def lose(self, lines: int) -> None:
        """A power cut takes the last lines; the stage goes on from what is left, with other text."""
        kept = self.data.splitlines(keepends=True)[: max(0, self.seq - lines)]
        self.data, self.seq = b"".join(kept), len(kept)

    def write_other(self, lines: int) -> None:
        for _ in range(lines):
            self.data += line(self.seq, f"after the power cut, and longer {self.seq}")
            self.seq += 1

    def stream(self, offset: int, sizes: list[int]) -> list[dict[str, Any]]:
        """Frames from `offset` on; each of `sizes` is how many lines the next chunk holds."""
        frames: list[dict[str, Any]] = []
        if offset > len(self.data):
            frames.append({"type": "reset", "run_id": RUN, "file": FILE, "offset": offset})
            offset = 0
        rest = self.data[offset:].splitlines(keepends=True)
        for size in sizes:
            part = b"".join(rest[:size])
            rest = rest[size:]
            if part:
                frames.append(chunk(offset, part))
                offset += len(part)
            frames.append({"type": "ping", "t": 1.0})
        return frames


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 30)),
    st.tuples(st.just("follow"), st.lists(st.integers(0, 9), max_size=6)),
    st.tuples(st.just("follow twice"), st.lists(st.integers(0, 9), max_size=6)),
    st.tuples(st.just("power cut"), st.integers(1, 20)),
    st.tuples(st.just("reopen"), st.none()),
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.lists(ACTIONS, max_size=14))
def test_writes_reconnects_repeats_and_power_cuts_end_with_the_hosts_log(
    actions: list[tuple[str, Any]],
) -> None:
    host = HostLog()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "c.sqlite")

        def follow(sizes: list[int], frames: list[dict[str, Any]] | None = None) -> None:
            offset = store.offsets("box").get(RUN, {}).get(FILE, 0)
            with contextlib.suppress(Resync):
                for frame in frames or host.stream(offset, sizes):
                    Follower(store, "box").take(frame)

        for action, value in actions:
            if action == "write":
                host.write(value)
            elif action == "follow":
                follow(value)
            elif action == "follow twice":  # two apps, or a reconnect whose first stream was still buffered
                offset = store.offsets("box").get(RUN, {}).get(FILE, 0)
                frames = host.stream(offset, value)
                follow(value, frames)
                follow(value, frames)
            elif action == "power cut":
                host.lose(value)
                host.write_other(value // 2)
            else:
                store.close()
                store = Store(Path(folder) / "c.sqlite")
        host.write_other(3)  # a divergence shows as soon as there is something to read
        for _ in range(6):
            follow([10_000])
        seen = store.events(KEY)
        assert [event.seq for event in seen] == list(range(host.seq))
        stored_texts = [event.data["text"] for event in seen]
        assert stored_texts == [json.loads(raw)["data"]["text"] for raw in host.data.splitlines()]
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "c.sqlite")


def test_changes_are_told_after_they_are_stored_and_also_when_another_was_quicker(store: Store) -> None:
    follower = Follower(store, "box")
    frame = {"type": "state", "run": {"run_id": RUN, "stage": "x"}, "state": {"status": "running"}}
    assert follower.take(frame) == [Change("run", "box", RUN)] == follower.take(frame)
    assert store.runs()[0].status == "running"
    for file, kind in ((FILE, "events"), ("telemetry.jsonl", "telemetry")):
        change = [Change(kind, "box", RUN)]  # type: ignore[arg-type]
        assert follower.take(chunk(0, line(0), file)) == change == follower.take(chunk(0, line(0), file))
    assert len(store.events(KEY)) == len(store.telemetry(KEY)) == 1


def test_bytes_that_are_no_utf8_cost_their_line_and_nothing_else(store: Store) -> None:
    data = line(0) + b'{"seq": 1, "bad": "\xff\xfe\xfd"}\n' + line(1)
    Follower(store, "box").take(chunk(0, data))
    assert [event.seq for event in store.events(KEY)] == [0, 1]
    assert store.offsets("box")[RUN][FILE] == len(data)
    assert store.bad_lines(KEY) == {FILE: 1}
    with pytest.raises(Resync):  # an overlap of replaced bytes cannot be cut right: ask again
        Follower(store, "box").take(chunk(len(line(0)), data[len(line(0)) :] + line(2) + b"\xff\n"))


def test_a_line_too_long_for_a_chunk_is_passed_over_and_counted(store: Store) -> None:
    follower = Follower(store, "box")
    follower.take(chunk(0, line(0)))
    at = len(line(0))
    follower.take({"type": "skip", "run_id": RUN, "file": FILE, "offset": at, "next": at + 1_000_000})
    follower.take(chunk(at + 1_000_000, line(1)))
    assert [event.seq for event in store.events(KEY)] == [0, 1]
    assert store.bad_lines(KEY) == {FILE: 1}


@pytest.mark.parametrize(
    "frame",
    [
        {}, {"type": "news"}, {"type": "state"}, {"type": "state", "run": [], "state": {}},
        {"type": "state", "run": {"run_id": "../../etc"}, "state": {}},
        {"type": "chunk", "run_id": RUN, "file": "run.json", "offset": 0, "data": "x\n"},
        {"type": "chunk", "run_id": RUN, "file": FILE, "offset": -5, "data": "x\n"},
        {"type": "chunk", "run_id": RUN, "file": FILE, "offset": True, "data": "x\n"},
        {"type": "chunk", "run_id": "a/b", "file": FILE, "offset": 0, "data": "x\n"},
        {"type": "reset", "run_id": RUN, "file": "/etc/passwd", "offset": 0},
    ],
)  # fmt: skip
def test_frames_of_another_shape_change_nothing(store: Store, frame: dict[str, Any]) -> None:
    assert Follower(store, "box").take(frame) == []
    assert store.runs() == []


def test_a_gap_is_never_stored(store: Store) -> None:
    with pytest.raises(Resync):
        Follower(store, "box").take(chunk(10, line(0)))
    assert store.events(KEY) == []


def test_the_stores_offsets_are_what_the_agent_is_asked_from(store: Store) -> None:
    follower = Follower(store, "box")
    follower.take(chunk(0, line(0) + line(1)))
    assert store.offsets("box") == {RUN: {FILE: len(line(0) + line(1))}}
    assert store.offsets("other") == {}
