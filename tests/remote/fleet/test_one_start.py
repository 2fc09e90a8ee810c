"""A submission whose answer is lost starts once, however often it is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_python

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.fleet.agent_client import AgentClient
from remote.fleet.fleet import Fleet
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
