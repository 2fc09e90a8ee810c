"""`nanochat import` and `nanochat wandb` as a person calls them, here and through a real sshd."""

import asyncio
import errno
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from imported import BASE, DATA, points
from imported import events as events_of
from sshd import Sshd

from nanochat.commands import wandb as wandb_command
from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from remote.cli.evals import evals
from remote.cli.imports import main
from remote.cli.runs import runs
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook


def test_a_log_becomes_a_run_in_every_list(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    bad = layout.base / "notes.txt"
    bad.write_text("nothing of interest\n")
    assert main([str(DATA / BASE), str(bad), str(DATA / "classic.wandb")]) == Exit.FAILED
    said = capsys.readouterr()
    first, run, *_ = said.out.splitlines()
    assert first == f"{DATA / BASE}: console log of upstream nanochat"
    assert run.startswith("  ✔ ") and run.endswith(" 41 events, succeeded")
    assert (
        said.err == f"nanochat: error: {bad} has no step of upstream nanochat in it: nothing was imported\n"
    )
    assert main([str(DATA / BASE), "--json"]) == Exit.OK
    [log] = json.loads(capsys.readouterr().out)["logs"]
    assert log["known"] and log["runs"][0]["new_events"] == 0
    assert runs(["ls", "--json"]) == Exit.OK
    listed = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in listed} == {"modern-base", "small"}
    [row] = [row for row in listed if row["name"] == "modern-base"]
    assert (row["stage"], row["status"], row["step"], row["total_steps"]) == (
        "base_train",
        "succeeded",
        20,
        20,
    )
    assert row["latest"]["val/bpb"] > 0 and "train/loss" in row["smooth"]
    assert runs(["compare", *(row["run_id"] for row in listed)]) == Exit.OK
    assert "num_iterations" in capsys.readouterr().out


def test_an_imported_evaluation_stands_with_the_others(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = [str(DATA / name) for name in ("modern-eval.log", "modern-chat-eval.log", "base")]
    assert main(logs) == Exit.OK
    assert runs(["ls"]) == Exit.OK
    capsys.readouterr()
    assert evals(["ls", "--json"]) == Exit.OK
    found = {(e["checkpoint"], e["kind"]) for e in json.loads(capsys.readouterr().out)}
    assert {("base/core", "core"), ("base/core", "bpb"), ("sft/d2", "chat"), ("base/d1", "bpb")} <= found


@pytest.mark.slow
async def test_a_log_on_a_host_is_followed_where_it_lies(
    layout: Layout, known_sshd: Sshd, tmp_path: Path
) -> None:
    far = tmp_path / "far away"
    far.mkdir()
    HostBook(layout).add(known_sshd.host(base=far))
    log = tmp_path / "train.log"
    text = (DATA / BASE).read_text()
    half = text.index("step 00011/")
    log.write_text(text[:half])
    fleet = Fleet(layout)
    try:
        await fleet.connect("box")
        found = await fleet.imports.take("box", [str(log), "/nowhere/x.log"], follow=True)
        assert found.problems == ("cannot read /nowhere/x.log: No such file or directory",)
        [run] = found.logs[0].runs
        assert run.status == "running" and run.key.startswith("box/")
        arrived = asyncio.Event()
        fleet.subscribe(lambda change: arrived.set())
        with log.open("a") as file:
            file.write(text[half:])
        async with asyncio.timeout(20):
            while (row := fleet.store.run(run.key)) is None or row.live or row.step != 20:
                arrived.clear()
                await arrived.wait()
        assert row.status == "succeeded"
        series = fleet.store.series(run.key, "train/loss")
        assert list(series.step) == list(range(20))
        assert (await fleet.console(run.key, 0, 50))[2] == len(text.encode())
        with pytest.raises(UserError, match="was imported"):
            await fleet.resume(run.key)
    finally:
        await fleet.aclose()


@pytest.mark.slow
def test_runs_go_to_wandb_and_come_back_the_same(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    assert main([str(DATA / BASE), "--json"]) == Exit.OK
    key = json.loads(capsys.readouterr().out)["logs"][0]["runs"][0]["key"]
    run_id = key.partition("/")[2]
    assert wandb_command.main([run_id]) == Exit.OK
    assert f"{run_id}: 41 events to {layout.base / 'wandb' / 'offline-run-'}" in capsys.readouterr().out
    assert main([str(layout.base / "wandb"), "--json"]) == Exit.OK
    [log] = json.loads(capsys.readouterr().out)["logs"]
    [back] = log["runs"]
    assert (back["stage"], back["status"]) == ("base_train", "succeeded")
    ours, theirs = (events_of(layout.base, name) for name in (run_id, back["key"].partition("/")[2]))
    for metric in ("train/loss", "train/lrm", "val/bpb", "train/total_tokens", "progress"):
        assert points(theirs, metric) == points(ours, metric) != []
    times = {(e.get("step"), e["kind"]): e["t"] for e in ours}
    assert all(e["t"] == times[e.get("step"), e["kind"]] for e in theirs if e["kind"] in ("metric", "eval"))

    written = next((layout.base / "wandb").glob("offline-run-*/run-*.wandb"))
    assert wandb_command.is_whole(written)
    cut = tmp_path / "cut.wandb"
    for size in (written.stat().st_size - 1, written.stat().st_size - 40, 7, 0):
        cut.write_bytes(written.read_bytes()[:size])
        assert not wandb_command.is_whole(cut)


def test_what_wandb_could_not_write_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    half, link = tmp_path / "offline-run-1-x", tmp_path / "latest-run"
    half.mkdir()
    link.symlink_to(half.name)
    wandb, told = SimpleNamespace(teardown=lambda exit_code: None), logging.raiseExceptions
    with (
        pytest.raises(UserError, match=r"did not take x: OSError: .*No space left on device"),
        wandb_command.in_one_line(wandb, "x", lambda: [half]),
    ):
        assert not logging.raiseExceptions  # its log lies on the full disk too
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run.wandb")
    assert not list(tmp_path.iterdir()) and logging.raiseExceptions is told


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"needs the package wandb .*pip install .*\[wandb\]"):
        wandb_command.main(["x"])
