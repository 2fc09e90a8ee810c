"""Checkpoints of a host behind a real sshd: listed, copied both ways, gone on with after a cut, deleted."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sshd import Sshd

from nanochat.checkpoint.in_use import using
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.checkpoints.saved import SavedCheckpoint
from remote.checkpoints.table import rows
from remote.fleet import checkpoints as copying
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook

pytestmark = pytest.mark.slow


def save(base: Path, name: str, content: bytes) -> Path:
    source, tag, step = name.replace("@", "/").split("/")
    folder = (
        base / {"base": "base_checkpoints", "sft": "chatsft_checkpoints"}[source] / tag / f"step_{step:>06}"
    )
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(content)
    files = {"model.safetensors": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    meta = {"files": files, "saved_at": 1000.0, "step": int(step)}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def far(tmp_path: Path) -> Path:
    base = tmp_path / "far away"
    save(base, "base/d4@100", os.urandom(300_000))
    return base


@pytest.fixture
async def fleet(layout: Layout, known_sshd: Sshd, far: Path) -> AsyncIterator[Fleet]:
    HostBook(layout).add(known_sshd.host(base=far))
    opened = Fleet(layout)
    try:
        yield opened
    finally:
        await opened.aclose()


async def there(fleet: Fleet, host: str) -> list[SavedCheckpoint]:
    return list((await fleet.checkpoints.refresh(host)).checkpoints)


async def test_a_checkpoint_is_pulled_and_pushed_whole_and_goes_on_after_a_cut(
    fleet: Fleet, layout: Layout, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "CHUNK", 100_000)
    (one,) = await there(fleet, "box")
    assert (str(one.name), one.host) == ("base/d4@100", "box")
    came: list[tuple[int, int]] = []

    async def cut() -> None:
        await fleet.checkpoints.copy(one, "local", lambda done, total: came.append((done, total)))

    task = asyncio.create_task(cut())
    while not came or came[-1][0] < 100_000:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    place = layout.base / "base_checkpoints" / "d4" / "step_000100"
    assert not place.exists()

    done = await fleet.checkpoints.copy(one, "local")
    assert 0 < done.bytes <= one.bytes - 100_000  # what had come was not sent again
    original = far / "base_checkpoints" / "d4" / "step_000100"
    assert content_of(place) == content_of(original) and done.path == str(place)
    assert {row.copies for row in rows(fleet.checkpoints.known(), [])} == {("box",), ("local",)}
    with pytest.raises(UserError, match="has a base/d4@100 already"):
        await fleet.checkpoints.copy(one, "local")

    mine = save(layout.base, "sft/d4@7", b"w" * 1000)
    (pushed,) = [two for two in await there(fleet, "local") if two.name.source == "sft"]
    await fleet.checkpoints.copy(pushed, "box")
    assert content_of(far / "chatsft_checkpoints" / "d4" / "step_000007") == content_of(mine)
    assert {str(two.name) for two in await there(fleet, "box")} == {"base/d4@100", "sft/d4@7"}
    assert not (far / "incoming").exists()
    assert all(len(record.command) < 2_000 for record in fleet.commands("box"))


async def test_a_checkpoint_is_deleted_on_its_host_unless_it_is_in_use(fleet: Fleet, far: Path) -> None:
    (one,) = await there(fleet, "box")
    path = far / "base_checkpoints" / "d4" / "step_000100"
    with using(path, "export to x"):
        with pytest.raises(UserError, match=r"base/d4@100 is in use by export to x \(wait for it or end it"):
            await fleet.checkpoints.delete(one)
        (told,) = rows([await fleet.checkpoints.refresh("box")], [])
        assert told.users == ("export to x",)
    await fleet.checkpoints.delete(one)
    assert not path.exists() and await there(fleet, "box") == []


async def test_what_cannot_be_copied_is_one_line(
    fleet: Fleet, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = await there(fleet, "box")
    with pytest.raises(UserError, match="on host 'box' already"):
        await fleet.checkpoints.copy(one, "box")
    monkeypatch.setattr(copying, "SPARE", 1 << 60)
    with pytest.raises(UserError, match="free some space there"):
        await fleet.checkpoints.copy(one, "local")
    monkeypatch.undo()
    model = far / "base_checkpoints" / "d4" / "step_000100" / "model.safetensors"
    model.write_bytes(b"short")
    with pytest.raises(UserError, match="has become shorter"):
        await fleet.checkpoints.copy(one, "local")
    (damaged,) = await there(fleet, "box")
    with pytest.raises(UserError, match=r"model\.safetensors is missing or truncated"):
        await fleet.checkpoints.copy(damaged, "local")
