"""Evaluations of a host behind a real sshd: listed, and their items copied whole and once."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from evaluation_logs import whole_core
from sshd import Sshd

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.fleet import evaluations as fetching
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook
from remote.runs import Change
from remote.store.evaluations import Evaluation
from remote.transport.base import HostUnreachable

pytestmark = pytest.mark.slow

RUN = "20260101-000000-base_eval-ab12"


def lines(count: int, first: int = 0) -> bytes:
    """Items as they are written: a line each."""
    return b"".join(
        json.dumps({"task": "copa", "index": index, "correct": index % 3 == 0, "prompt": "é" * 50}).encode()
        + b"\n"
        for index in range(first, first + count)
    )


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A base directory with one evaluation of base/d4 in it."""
    base = tmp_path / "far away"
    folder = base / "runs" / RUN
    folder.mkdir(parents=True)
    told = {"schema": 1, "run_id": RUN, "stage": "base_eval", "name": "base_eval", "created_at": 1e9}
    (folder / "run.json").write_text(json.dumps({**told, "argv": ["x"]}), encoding="utf-8")
    state = {"schema": 1, "run_id": RUN, "status": "succeeded", "attempt": 1, "heartbeat": 1e9}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (folder / "events.jsonl").write_bytes(whole_core())
    (folder / "core-items.jsonl").write_bytes(lines(1000))
    (base / "base_eval").mkdir()
    document = {
        "model": f"{base}/base_checkpoints/d4/step_000300",
        "step": 300,
        "max_per_task": 20,
        "core": 0.25,
    }
    document["tasks"] = {"copa": {"accuracy": 0.5, "centered": 0.25, "stderr": 0.1, "items": 1000}}
    (base / "base_eval" / "base_model_000300.json").write_text(json.dumps(document), encoding="utf-8")
    return base


@pytest.fixture
async def fleet(layout: Layout, known_sshd: Sshd, far: Path) -> AsyncIterator[Fleet]:
    HostBook(layout).add(known_sshd.host(base=far))
    opened = Fleet(layout)
    try:
        yield opened
    finally:
        await opened.aclose()


async def listed(fleet: Fleet) -> Evaluation:
    await fleet.catch_up("box")
    await fleet.evaluations.refresh("box")
    (one,) = await asyncio.to_thread(fleet.store.evaluations, "core")
    return one


def asked_for_items(fleet: Fleet) -> int:
    return sum(" items " in record.command for record in fleet.commands("box"))


async def test_items_are_copied_when_asked_for_and_then_only_what_is_new(
    fleet: Fleet, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CHUNK", 80_000)
    changes: list[Change] = []
    fleet.subscribe(changes.append)
    one = await listed(fleet)
    assert changes[-1] == Change("evaluations", "box")
    assert one.tasks["copa"].n == 1000 and one.gone and one.items is not None
    there = far / one.items.path
    assert one.items.bytes == there.stat().st_size
    assert asked_for_items(fleet) == 0 and await fleet.evaluations.fetched_at(one) is None

    told: list[tuple[int, int]] = []
    path = await fleet.evaluations.items(one, lambda done, total: told.append((done, total)))
    assert path.read_bytes() == there.read_bytes()
    assert [done for done, _ in told] == sorted(done for done, _ in told) and told[-1][0] == told[-1][1]
    count = asked_for_items(fleet)
    assert count == -(-there.stat().st_size // 80_000)

    assert await fleet.evaluations.items(one) == path  # unchanged: one look
    assert asked_for_items(fleet) == count + 1
    with there.open("ab") as more:
        more.write(lines(10, 1000))
    assert (await fleet.evaluations.items(one)).read_bytes() == there.read_bytes()
    assert asked_for_items(fleet) == count + 3  # a look, and the rest with the sum of what is before
    with there.open("r+b") as cut:  # half a line of a killed evaluation, which the next attempt writes again
        cut.truncate(there.stat().st_size - 20)
    assert (await fleet.evaluations.items(one)).read_bytes() == there.read_bytes()
    with there.open("r+b") as mended:
        mended.truncate(there.read_bytes().rfind(b"\n") + 1)
        mended.seek(0, 2)
        mended.write(lines(5, 5000))
    assert (await fleet.evaluations.items(one)).read_bytes() == there.read_bytes()
    there.unlink()
    there.write_bytes(lines(3000))  # another evaluation in its place
    assert (await fleet.evaluations.items(one)).read_bytes() == lines(3000)
    assert not list(path.parent.glob(".items-*"))


async def test_of_a_host_out_of_reach_the_copy_stands(fleet: Fleet, far: Path, known_sshd: Sshd) -> None:
    one = await listed(fleet)
    path = await fleet.evaluations.items(one)
    before = await fleet.evaluations.fetched_at(one)
    known_sshd.kill()
    await fleet.disconnect("box")
    assert await fleet.evaluations.items(one) == path
    assert await fleet.evaluations.fetched_at(one) == before
    path.unlink()
    with pytest.raises(HostUnreachable):
        await fleet.evaluations.items(one)
    with pytest.raises(HostUnreachable):
        await fleet.evaluations.refresh("box")
    assert fleet.store.evaluations("core") == [one]  # what was known stands


async def test_items_that_are_gone_or_too_large_are_one_line(fleet: Fleet, far: Path) -> None:
    one = await listed(fleet)
    assert one.items is not None
    fleet.evaluations.cache.most_bytes = 1000
    with pytest.raises(UserError, match="more than is kept of items here"):
        await fleet.evaluations.items(one)
    fleet.evaluations.cache.most_bytes = 1 << 20
    (far / one.items.path).unlink()
    with pytest.raises(UserError, match="not there any more on host 'box'"):
        await fleet.evaluations.items(one)
    await fleet.evaluations.refresh("box")
    (one,) = fleet.store.evaluations("core")
    with pytest.raises(UserError, match="base/d4@300: no items are kept"):
        await fleet.evaluations.items(one)


async def test_of_this_machine_the_file_itself_is_read(layout: Layout, far: Path) -> None:
    shutil.copytree(far, layout.base, dirs_exist_ok=True)
    fleet = Fleet(layout)
    try:
        await fleet.catch_up("local")
        await fleet.evaluations.refresh("local")
        (one,) = fleet.store.evaluations("core")
        path = await fleet.evaluations.items(one)
        assert path == layout.base / "runs" / RUN / "core-items.jsonl" and not layout.items_cache.exists()
        path.unlink()
        with pytest.raises(UserError, match="is not there any more"):
            await fleet.evaluations.items(one)
    finally:
        await fleet.aclose()
