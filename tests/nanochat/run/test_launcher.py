"""Several processes on one machine: how they find each other, and what is left when they end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nanochat.run import launcher
from nanochat.run.activity import SAVING, Activity

pytestmark = pytest.mark.slow


class Child:
    """A process of a group. `ends` is its exit code, by itself; None when it must be killed."""

    def __init__(self, ends: int | None, on_poll: Callable[[], None] = lambda: None) -> None:
        self.returncode: int | None = None
        self.ends, self.on_poll = ends, on_poll
        self.signals: list[str] = []
        self.polls = 0

    def poll(self) -> int | None:
        self.polls += 1
        assert self.polls < 1_000, "it is waited for without end"
        self.on_poll()
        self.returncode = self.ends if self.returncode is None else self.returncode
        return self.returncode

    def terminate(self) -> None:
        self.signals.append("terminate")

    def kill(self) -> None:
        self.signals.append("kill")
        self.returncode = -signal.SIGKILL


def wait_for(children: list[Child], activity: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(launcher, "GRACE_SECONDS", -1.0)
    monkeypatch.setattr(launcher.time, "sleep", lambda seconds: None)
    return launcher._wait(children, activity)  # type: ignore[arg-type]


def test_a_failure_of_another_rank_than_the_first_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 may wait for it without end."""
    children = [Child(None), Child(7)]
    assert wait_for(children, tmp_path / "none", monkeypatch) == 128 + signal.SIGKILL
    assert children[0].signals == ["terminate", "kill"]


def test_a_checkpoint_that_is_being_written_is_not_broken_off_by_another_ranks_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = tmp_path / "activity"
    activity, left = Activity(says), iter(range(20))
    saving = contextlib.ExitStack()
    saving.enter_context(activity.during(SAVING))

    def goes_on() -> None:
        if next(left, None) is None and main.ends is None:
            assert main.signals == ["terminate"]
            saving.close()
            main.ends = 0

    main = Child(None, goes_on)
    assert wait_for([main, Child(7)], says, monkeypatch) == 7
    assert main.signals == ["terminate"]
    activity.close()


ROOT = Path(__file__).resolve().parents[3]

MEMBER = """
import os, sys
from nanochat.compute.ranks import Ranks
from nanochat.compute.rendezvous import RENDEZVOUS
from nanochat.run.launcher import follow_launcher
from nanochat.compute.device import join_group

follow_launcher()
ranks = Ranks(*join_group(sys.argv[1]))
assert RENDEZVOUS not in os.environ  # what a process starts is in no group
os.write(1, f"{ranks.gather((ranks.rank, sys.argv[2]))}\\n".encode())  # at once, for two print to one pipe
if sys.argv[2] == "stay":
    input()
"""


def start(folder: Path, device: str, word: str) -> subprocess.Popen[str]:
    """A launcher of two processes that join a group, tell each other `word`, and end or stay."""
    (folder / "member.py").write_text(MEMBER)
    (folder / "tmp").mkdir(exist_ok=True)
    env = os.environ | {
        "PYTHONPATH": f"{ROOT}:{folder}",
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "no-such-host.invalid",  # left over from something else
        "MASTER_PORT": "1",
    }
    code = "import sys; from nanochat.run.launcher import launch; sys.exit(launch('member', sys.argv[1:], 2))"
    return subprocess.Popen(
        [sys.executable, "-c", code, device, word],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_groups_at_once_meet_each_its_own_without_a_port(tmp_path: Path) -> None:
    groups = {word: start(tmp_path, "cpu", word) for word in ("one", "other")}
    for word, process in groups.items():
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert text.splitlines() == [str([(0, word), (1, word)])] * 2
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has a name, which a kill leaves")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_group_however_it_ends(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, "cpu", "stay")
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    assert not list((tmp_path / "tmp").iterdir())
    process.send_signal(number)
    process.stdout.read()  # the last process that holds it has ended
    assert process.wait(timeout=60) != 0
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_gpus_meet_through_the_file_too(tmp_path: Path) -> None:
    process = start(tmp_path, "cuda", "one")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert text.splitlines() == [str([(0, "one"), (1, "one")])] * 2
