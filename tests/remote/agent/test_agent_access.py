"""Who else on a host may look into runs, lock them, or keep us waiting."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agenthost import AgentHost

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout, make_run_dir
from remote.agent import control, locks
from remote.agent.files import AgentError
from remote.hosts.book import Host, HostBook


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def plain_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("plain_umask")
def test_runs_and_their_locks_are_their_owners_alone(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage())
    agent.wait(run_id)
    runs = agent.base / "runs"
    assert (mode(runs), mode(agent.dir(run_id))) == (0o700, 0o700)
    assert (mode(runs / ".lock"), mode(agent.dir(run_id) / "lock")) == (0o600, 0o600)
    path = make_run_dir(Layout(agent.base / "by hand").run("20260101-000000-fake-0001"))
    assert (mode(path.parent), mode(path)) == (0o700, 0o700)


@pytest.mark.usefixtures("plain_umask")
def test_a_group_shares_runs_where_their_folder_says_so(agent: AgentHost) -> None:
    runs = agent.base / "runs"
    runs.mkdir(parents=True)
    runs.chmod(0o2770)
    (run_id,) = agent.submit(agent.stage())
    agent.wait(run_id)
    assert mode(agent.dir(run_id)) == 0o2770 and agent.dir(run_id).stat().st_gid == runs.stat().st_gid
    assert (mode(runs / ".lock"), mode(agent.dir(run_id) / "lock")) == (0o660, 0o660)
    assert mode(make_run_dir(runs / "20260101-000000-fake-0001")) == 0o2770
    assert mode(runs) == 0o2770


def test_a_lock_that_an_older_version_left_open_to_all_is_closed(agent: AgentHost) -> None:
    runs = agent.base / "runs"
    runs.mkdir(parents=True)
    (runs / ".lock").touch()
    (runs / ".lock").chmod(0o644)
    agent.submit(agent.stage())
    assert mode(runs / ".lock") == 0o600


def test_a_held_lock_is_waited_for_a_while_and_its_holder_named(agent: AgentHost) -> None:
    assert control.rundirs.LOCK_PATIENCE == 30.0
    runs = control.Runs(agent.base)
    runs.make()
    with (runs.path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        named = rf"held for more than 0\.2 s by process {os.getpid()} of "
        with pytest.raises(AgentError, match=named) as told, runs.exclusive(0.2):
            pass
        assert told.value.code == "lock" and Path(sys.executable).name in str(told.value)
        assert locks.holder(runs.path / "nothing") == "a process that cannot be named"
    with runs.exclusive(0.2):
        pass


def test_the_host_book_is_waited_for_a_while(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remote.hosts.book.LOCK_PATIENCE", 0.2)
    with (layout.base / ".hosts.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"held by another nanochat for more than 0\.2 s"):
            HostBook(layout).add(Host(name="box", address="127.0.0.1"))
