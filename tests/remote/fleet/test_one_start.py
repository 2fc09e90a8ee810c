"""A submission whose answer is lost starts once, however often it is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_python

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout, atomic_write
from remote.fleet import unanswered
from remote.fleet.agent_client import AgentClient
from remote.fleet.fleet import Fleet
from remote.fleet.submission import Submission
from remote.fleet.unanswered import PATIENCE, Unanswered
from remote.runs import RunRequest, split_key
from remote.transport.base import HostUnreachable

TWO = [RunRequest("tok_train"), RunRequest("base_train", {"depth": 2}, needs=(0,))]


class Losing:
    """Loses the next `answers` of submit: the request arrives, its answer does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
        self.left = answers
        self.sent: list[dict[str, Any]] = []
        call = AgentClient.call

        async def losing(client: AgentClient, command: str, *words: str, **more: Any) -> dict[str, Any]:
            answer = await call(client, command, *words, **more)
            if command == "submit":
                self.sent.append(more["request"])
                if self.left:
                    self.left -= 1
                    raise HostUnreachable("local", "agent gave no answer in 60 s")
            return answer

        monkeypatch.setattr(AgentClient, "call", losing)
        monkeypatch.setattr("remote.fleet.fleet._RESEND", 0.01)


@pytest.fixture
def place(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr("sys.executable", str(fake_python(tmp_path, steps=3)))
    return layout


def ids(layout: Layout) -> set[str]:
    return {path.name for path in layout.runs.iterdir() if not path.name.startswith(".")}


@pytest.mark.slow
async def test_a_lost_answer_is_asked_for_again_with_the_same_document(
    place: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing = Losing(monkeypatch, 2)
    fleet = Fleet(place)
    try:
        keys = await fleet.launch("local", TWO, plan="demo")
    finally:
        await fleet.aclose()
    assert losing.sent[0] == losing.sent[1] == losing.sent[2]
    assert ids(place) == {split_key(key)[1] for key in keys}


@pytest.mark.slow
async def test_the_same_asked_again_after_no_answer_starts_nothing_twice(
    place: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    Losing(monkeypatch, 3)
    fleet = Fleet(place)
    try:
        with pytest.raises(UserError, match="whether the runs have started is not known"):
            await fleet.launch("local", TWO, plan="demo")
        first = ids(place)
        keys = await fleet.launch("local", TWO, plan="demo")
        assert {split_key(key)[1] for key in keys} == first == ids(place)
        again = await fleet.launch("local", TWO, plan="demo")  # answered: this is another wish
        assert not set(again) & set(keys)
        async with asyncio.timeout(60):
            while any((run := fleet.store.run(key)) is None or run.live for key in (*keys, *again)):
                await asyncio.sleep(0.1)
    finally:
        await fleet.aclose()


@pytest.mark.slow
async def test_the_same_command_given_again_after_no_answer_starts_nothing_twice(
    place: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `nanochat --no-tui PLAN` after exit 3: each time another process, with nothing in its memory."""
    monkeypatch.setenv("A_SECRET", "value of the secret")
    Losing(monkeypatch, 3)
    told: list[str] = []
    first = Fleet(place)
    try:
        with pytest.raises(UserError, match="whether the runs have started is not known") as lost:
            await first.launch("local", TWO, plan="demo", pass_env=["A_SECRET"])
        assert "nothing starts twice" in lost.value.hint
    finally:
        await first.aclose()
    (note,) = place.unanswered.iterdir()
    assert note.stat().st_mode & 0o777 == 0o600 and b"value of the secret" not in note.read_bytes()
    started = ids(place)
    second = Fleet(place, warn=told.append)
    try:
        keys = await second.launch("local", TWO, plan="demo", pass_env=["A_SECRET"])
        assert {split_key(key)[1] for key in keys} == started == ids(place)
        assert [line for line in told if "nothing starts twice" in line]
        assert not place.unanswered.exists()
        async with asyncio.timeout(60):
            while any((run := second.store.run(key)) is None or run.live for key in keys):
                await asyncio.sleep(0.1)
    finally:
        await second.aclose()


ASKED = Submission(("a", "b"), {"plan": None, "python": "p", "env": {"A": "secret"}, "runs": []})


def test_what_was_not_answered_is_kept_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, now = Unanswered(tmp_path / "notes"), [1.79e9]
    monkeypatch.setattr(unanswered.time, "time", lambda: now[0])
    assert notes.earlier("box", "same") is None
    notes.note("box", "same", ASKED)
    kept = Unanswered(tmp_path / "notes").earlier("box", "same")
    assert kept == Submission(("a", "b"), {**ASKED.document, "env": {}})
    assert notes.earlier("bax", "same") is None and notes.earlier("box", "other") is None
    now[0] += PATIENCE
    assert notes.earlier("box", "same") is None


def test_only_the_note_of_what_was_answered_goes(tmp_path: Path) -> None:
    notes = Unanswered(tmp_path / "notes")
    notes.note("box", "same", ASKED)
    notes.note("box", "other", ASKED)
    notes.forget("box", "same", Submission(("c",), {}))
    assert notes.earlier("box", "same") is not None
    notes.forget("box", "same", ASKED)
    assert notes.earlier("box", "same") is None and notes.earlier("box", "other") is not None
    notes.forget("box", "other", ASKED)
    assert list(tmp_path.iterdir()) == []  # nor is their folder left


def test_a_note_is_kept_while_another_process_takes_the_empty_folder_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, writes = Unanswered(tmp_path / "notes"), 0

    def write(path: Path, text: str, mode: int) -> None:
        nonlocal writes
        writes += 1
        if writes == 1:
            path.parent.rmdir()
        atomic_write(path, text, mode)

    monkeypatch.setattr(unanswered, "atomic_write", write)
    notes.note("box", "same", ASKED)
    assert notes.earlier("box", "same") is not None


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"t": "x"}', b'{"t": 1e9}', b"\xff", b"[" * 100_000])
def test_a_damaged_note_is_none(tmp_path: Path, raw: bytes) -> None:
    notes = Unanswered(tmp_path)
    notes.note("box", "same", ASKED)
    (note,) = tmp_path.iterdir()
    note.write_bytes(raw)
    assert notes.earlier("box", "same") is None
    notes.forget("box", "same", ASKED)


async def test_a_note_that_cannot_be_kept_is_told_and_the_runs_start(
    place: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.unanswered.write_bytes(b"no folder")
    told: list[str] = []
    fleet = Fleet(place, warn=told.append)
    try:
        (key,) = await fleet.launch("local", TWO[:1])
        assert [line for line in told if "may start twice" in line]
        async with asyncio.timeout(60):
            while (run := fleet.store.run(key)) is None or run.live:
                await asyncio.sleep(0.1)
    finally:
        await fleet.aclose()
