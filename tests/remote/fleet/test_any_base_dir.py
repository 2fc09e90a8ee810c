"""A base directory is bytes: its name need not be UTF-8."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from fakes import fake_python

from nanochat.common.paths import Layout
from remote.fleet.fleet import Fleet
from remote.runs import RunRequest


async def test_a_run_in_a_folder_whose_name_is_not_utf_8_is_followed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        base.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    monkeypatch.setattr("sys.executable", str(fake_python(tmp_path, steps=3)))
    fleet = Fleet(Layout(base))
    try:
        (key,) = await fleet.launch("local", [RunRequest("tok_train")])
        async with asyncio.timeout(30):
            while (run := fleet.store.run(key)) is None or run.live:
                await asyncio.sleep(0.05)
        assert run.status == "succeeded" and (base / "runs" / run.run_id / "console.log").stat().st_size
    finally:
        await fleet.aclose()
