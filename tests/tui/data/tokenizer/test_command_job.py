"""A command in a process of its own: its progress is heard, its result is kept, it can be ended."""

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.data.stats_document import parse_stats
from tests.nanochat.training_data import documents, write_shards
from tui.data.tokenizer.command_job import CommandJob
from tui.data.tokenizer.kept import keep, listed


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the interpreter: what is written into it runs in place of the command."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


async def test_the_numbers_are_those_of_the_command(tmp_path: Path) -> None:
    write_shards(tmp_path / "base_data", [documents(30, 1), documents(9, 2)])
    job = CommandJob(["data", "stats", f"--base-dir={tmp_path}", "--json"])
    printed = await job.run()
    assert printed is not None and job.state == "done"
    stats = parse_stats(printed, "here")
    assert stats.total.documents == 39
    assert stats.source == "base_data"
    assert job.remarks == ["no tokenizer: lengths are in characters (train one: nanochat tok_train)"]
    folder = tmp_path / "kept"
    first, second = keep(folder, printed), keep(folder, b"[]")
    assert first != second
    found, problems = listed(folder, lambda path: parse_stats(path.read_bytes(), path.name))
    assert [one.document for one in found] == [stats]
    assert problems == [
        f"{second.name} holds no numbers about a corpus (nanochat data stats --json writes them)"
    ]


async def test_progress_is_heard_and_a_failure_is_the_commands_own_line(script: Path) -> None:
    lines = [
        json.dumps({"doing": "reading", "share": 0.25, "documents": 1200, "bytes": 5_000_000}),
        json.dumps({"doing": "merging\x1b[31m", "share": 7, "done": 3, "total": 12}),
        "x" * 100_000,
        "nanochat: error: no such folder (choose another)",
    ]
    text = "\n".join(lines)
    script.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{text}\nEND\necho some; exit 1\n")
    heard: list[str] = []
    job = CommandJob(["tok_sweep"], lambda: heard.append(str(job.progress)))
    with pytest.raises(UserError, match=r"^no such folder \(choose another\)$"):
        await job.run()
    assert job.state == "failed"
    assert heard[:2] == ["reading · 25% · 1,200 documents, 4.8M", "merging · 100% · 3 of 12"]


@pytest.mark.parametrize("how", ["cancel", "the app ends"])
async def test_an_end_ends_the_process(script: Path, tmp_path: Path, how: str) -> None:
    script.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 600\n")
    job = CommandJob(["data", "stats"])
    running = asyncio.ensure_future(job.run())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        await asyncio.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    if how == "cancel":
        job.cancel()
        assert await running is None
    else:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert job.state == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
