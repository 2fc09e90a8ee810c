"""A host whose clock is not ours: its runs are timed by its own, and the difference is told."""

from __future__ import annotations

import asyncio
import time

import pytest
from account import account
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.cli.printer import spent
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook
from remote.hosts.preflight import checks
from remote.runs import Link, RunRequest, RunRow, host_time

SHIFT = "import time\n_ours = time.time\ntime.time = lambda: _ours() + {seconds}\n"


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
