"""A host whose clock is not ours: its runs are timed by its own, and the difference is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from account import account
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.cli.printer import spent
from remote.filter.run_filter import parse
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook
from remote.hosts.preflight import checks
from remote.runs import Link, RunRequest, RunRow, host_time
from remote.store.run_list import RunList
from remote.store.store import Store

SHIFT = "import time\n_ours = time.time\ntime.time = lambda: _ours() + {seconds}\n"


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10800, -10800], ids=["ahead", "behind"])
async def test_runs_of_a_host_with_another_clock_are_timed_by_it(
    known_sshd: Sshd, layout: Layout, seconds: int
) -> None:
    with account("bash", known_sshd) as person:
        person.login_file("export PYTHONPATH=$HOME/shift\n")
        person.login_file(SHIFT.format(seconds=seconds), "shift/sitecustomize.py")
        person.login_file('#!/bin/sh\n[ "$1" = -c ] && exit 1\nexec sleep 60\n', "stage")
        (person.home / "stage").chmod(0o755)
        HostBook(layout).add(person.host(python=f"{person.home}/stage"))
        fleet = Fleet(layout)
        try:
            probe = await fleet.probe("box")
            assert probe.clock_ahead == pytest.approx(seconds, abs=15)
            told = [check for check in checks(probe) if "clock" in check.what]
            assert [check.level for check in told] == ["warn"]
            word = "ahead of" if seconds > 0 else "behind"
            assert word in told[0].what and told[0].fix
            (key,) = await fleet.launch("box", [RunRequest("tok_train")])
            async with asyncio.timeout(30):
                while (run := fleet.store.run(key)) is None or run.status != "running":
                    await asyncio.sleep(0.05)
            link = fleet.link("box")
            assert link.clock_ahead == pytest.approx(seconds, abs=5)
            assert run.started_at is not None
            assert -1 < host_time(run, link, time.time()) - run.started_at < 30
            assert spent(run).endswith("s")
            row = fleet.store.run(key)
            assert row is not None and row.clock_ahead == pytest.approx(seconds, abs=15)
            assert parse("age<5m", [row]).keeps(row) and not parse("age>5m", [row]).keeps(row)
            await fleet.stop(key, 0.1)
        finally:
            await fleet.aclose()


def test_a_clock_within_a_minute_is_not_told() -> None:
    from remote.runs import Probe

    probe = Probe("box", "node", "3.12.1", "abc", 8, 1 << 36, 1 << 39, 1 << 40, False, clock_ahead=-59.0)
    assert not any("clock" in check.what for check in checks(probe))


def test_a_silent_hosts_time_is_that_of_its_last_heartbeat() -> None:
    run = RunRow(
        "box/a", "box", "a", status="running", started_at=10800.0, heartbeat=10820.0, last_contact=25.0
    )
    assert host_time(run, Link("down"), 99.0) == 10820.0
    assert host_time(run, None, 99.0) == 10820.0
    assert host_time(run, Link("up", clock_ahead=10800.0), 30.0) == 10830.0
    assert spent(run) == "20s"
    # seen through another host of the same disk, whose clock says nothing of this run's
    elsewhere = replace(run, here=False)
    assert host_time(elsewhere, Link("up", clock_ahead=10800.0), 30.0) == 10820.0


def test_a_run_is_as_old_as_its_hosts_clock_says(tmp_path: Path) -> None:
    """Of one that has ended, too: what the host's clock is is known from when it was last heard."""
    now = time.time()
    with Store(tmp_path / "c.sqlite") as store:
        runs = RunList(store)
        for number, host in enumerate(("ahead", "right")):
            created = now - 60 + (10800 if host == "ahead" else 0)
            run = {"run_id": f"run-{number}", "created_at": created}
            store.ingest_state(host, run, {"status": "succeeded"})
        store.contact("right", now, 0.2)
        assert {row.host for row in runs.update() if parse("age>30s", [row]).keeps(row)} == {"right"}
        store.contact("ahead", now, 10800.0)
        kept = [row for row in runs.update() if parse("age>30s age<5m", [row]).keeps(row)]
        assert {row.host for row in kept} == {"ahead", "right"} and kept == store.runs()
        store.contact("ahead", now + 2, 10803.0)  # the way of an answer, not the clock
        store.contact("ahead", now + 4)
        assert {row.clock_ahead for row in store.runs()} == {10800.0, 0.2}
