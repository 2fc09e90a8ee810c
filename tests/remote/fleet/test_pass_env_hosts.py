"""`pass_env` from the shell to the stage, here and through a real sshd: seen by the stage, told to nobody."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sshd import Sshd

from nanochat.common.paths import Layout
from nanochat.config.plan import parse_plan
from remote.agent import procs
from remote.fleet.agent_client import _spelled
from remote.fleet.fleet import Fleet
from remote.fleet.submission import plan_requests
from remote.hosts.book import HostBook
from remote.runs import split_key

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PLAN = """
pass_env = ["WANDB_API_KEY", "NOWHERE"]
[[stage]]
stage = "tok_train"
[[stage]]
stage = "base_train"
"""
TOKEN, KEY, NEWER = "hush-token-4711", 'hush"key\\0815', "hush-newer-1234"
SEER = """#!{python}
import hashlib, json, os, sys, time
from pathlib import Path
if sys.argv[1:2] != ["-m"]:
    os.environ["PYTHONPATH"] = {root!r}
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
folder, attempt = Path(os.environ["NANOCHAT_RUN_DIR"]), os.environ["NANOCHAT_ATTEMPT"]
names = ("HF_TOKEN", "WANDB_API_KEY", "NOWHERE", "OTHER_SECRET")
seen = {{n: hashlib.sha256(os.environ[n].encode()).hexdigest() for n in names if n in os.environ}}
(folder / "seen.tmp").write_text(json.dumps(seen))
(folder / "seen.tmp").rename(folder / f"seen-{{attempt}}.json")
while not Path({go!r}).exists():
    time.sleep(0.02)
end = {{"status": "succeeded", "error": "", "results": {{}}}}
event = {{"seq": int(attempt) - 1, "t": time.time(), "kind": "stage_end", "data": end}}
with (folder / "events.jsonl").open("a") as log:
    log.write(json.dumps(event) + "\\n")
"""


class Place:
    """A host, where its base directory is, and the stage there that waits for `go`."""

    def __init__(self, name: str, layout: Layout, base: Path, folder: Path) -> None:
        self.name = name
        self.layout = layout
        self.base = base
        self.go = folder / "go"
        self.python = folder / "a seer"
        self.python.write_text(SEER.format(python=sys.executable, root=str(ROOT), go=str(self.go)))
        self.python.chmod(0o755)

    def run(self, key: str) -> Path:
        return self.base / "runs" / split_key(key)[1]

    def state(self, key: str) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.run(key) / "state.json").read_text())
        return found

    def seen(self, key: str, attempt: int = 1) -> dict[str, str]:
        """What the stage found in its environment, as hashes."""
        path = self.run(key) / f"seen-{attempt}.json"
        wait_for(path.exists)
        found: dict[str, str] = json.loads(path.read_text())
        return found

    def holders(self, value: str) -> set[Path]:
        """The files, here and there, that hold a value, also as JSON spells it."""
        spellings = {value.encode(), json.dumps(value)[1:-1].encode()}
        return {
            path
            for folder in {self.base, self.layout.base}
            for path in folder.rglob("*")
            if path.is_file() and any(spelling in path.read_bytes() for spelling in spellings)
        }


def hashed(**values: str) -> dict[str, str]:
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in values.items()}


def command_lines() -> bytes:
    """The command line of every process."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += path.read_bytes()
    return found


def wait_for(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(params=["local", "box"])
def place(
    request: pytest.FixtureRequest, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "NOWHERE", "OTHER_SECRET"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "local":
        place = Place("local", layout, layout.base, tmp_path)
        monkeypatch.setattr(sys, "executable", str(place.python))
        return place
    sshd: Sshd = request.getfixturevalue("known_sshd")
    place = Place("box", layout, tmp_path / "far", tmp_path)
    HostBook(layout).add(sshd.host(base=place.base, python=str(place.python), pass_env=("HF_TOKEN",)))
    return place


@contextlib.asynccontextmanager
async def opened(layout: Layout) -> AsyncIterator[tuple[Fleet, list[str]]]:
    told: list[str] = []
    fleet = Fleet(layout, warn=told.append)
    try:
        yield fleet, told
    finally:
        await fleet.aclose()


async def test_a_stage_gets_the_variables_and_nothing_else_holds_their_values(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    if place.name == "box":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    plan = parse_plan(PLAN, "two.toml")
    async with opened(place.layout) as (fleet, told):
        first, second = await fleet.launch(place.name, plan_requests(plan), "two", plan.pass_env)
        assert told == ["NOWHERE is listed in pass_env but not set here: it is not passed on"]
        handed = {"WANDB_API_KEY": KEY} | ({"HF_TOKEN": TOKEN} if place.name == "box" else {})
        assert place.seen(first) == hashed(**handed)
        # While the runs go on, one file a run holds the values, for its owner alone.
        for value in handed.values():
            assert place.holders(value) == {place.run(key) / "launch.json" for key in (first, second)}
            assert value.encode() not in command_lines()
        for key in (first, second):
            assert (place.run(key) / "launch.json").stat().st_mode & 0o777 == 0o600
            assert json.loads((place.run(key) / "run.json").read_text())["env"] == sorted(handed)
        commands = "\n".join(f"{record.command} {record.error}" for record in fleet.commands(place.name))
        assert '"$WANDB_API_KEY"' in commands
        assert "hush" not in commands
    # Another supervisor, started from a shell without the variables, hands them to the stage that waited.
    keeper = place.state(first)["supervisor"]
    assert isinstance(keeper, dict)
    os.kill(keeper["pid"], signal.SIGKILL)
    wait_for(lambda: not procs.alive(keeper["pid"], keeper["pid_start"]))
    for name in handed:
        monkeypatch.delenv(name)
    async with opened(place.layout) as (fleet, told):
        await fleet.refresh(place.name)
        place.go.touch()
        assert place.seen(second) == hashed(**handed)
        wait_for(lambda: not (place.run(second) / "launch.json").exists())
        await fleet.catch_up(place.name)
        rows = [fleet.store.run(key) for key in (first, second)]
        assert [row and row.status for row in rows] == ["succeeded", "succeeded"]
        assert [row and row.pass_env for row in rows] == [("NOWHERE", "WANDB_API_KEY")] * 2
    for value in handed.values():
        assert place.holders(value) == set()


async def test_a_resume_passes_them_on_as_they_are_set_then(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    plan = parse_plan(PLAN, "two.toml")
    place.go.touch()
    async with opened(place.layout) as (fleet, told):
        (key,) = await fleet.launch(place.name, plan_requests(plan)[:1], "two", plan.pass_env)
        wait_for(lambda: not (place.run(key) / "launch.json").exists())
    monkeypatch.setenv("WANDB_API_KEY", NEWER)
    monkeypatch.setenv("NOWHERE", "set by now")
    async with opened(place.layout) as (fleet, told):
        await fleet.resume(key)
        names = {"WANDB_API_KEY": NEWER, "NOWHERE": "set by now"}
        assert place.seen(key, 2) == hashed(**names)
        wait_for(lambda: not (place.run(key) / "launch.json").exists())
        assert [line for line in told if "HF_TOKEN" not in line] == []
    assert place.holders(NEWER) == set()


async def test_a_host_gets_nothing_for_saying_that_a_run_once_had_it(
    layout: Layout, known_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json lies on the host, where others may write: what it names is no leave to send it."""
    place = Place("box", layout, tmp_path / "far", tmp_path)
    HostBook(layout).add(known_sshd.host(base=place.base, python=str(place.python)))
    place.go.touch()
    async with opened(layout) as (fleet, told):
        plan = parse_plan(PLAN, "two.toml")
        (key,) = await fleet.launch("box", plan_requests(plan)[:1])
        wait_for(lambda: not (place.run(key) / "launch.json").exists())
        file = place.run(key) / "run.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "env": ["OTHER_SECRET"]}))
        await fleet.catch_up("box")
        monkeypatch.setenv("OTHER_SECRET", TOKEN)
        await fleet.resume(key)
        assert place.seen(key, 2) == {}
        (line,) = told
        assert "OTHER_SECRET" in line and "--pass-env" in line and "\n" not in line
        wait_for(lambda: not (place.run(key) / "launch.json").exists())
        await fleet.catch_up("box")
        await fleet.resume(key, ["OTHER_SECRET"])
        assert place.seen(key, 3) == hashed(OTHER_SECRET=TOKEN)


async def test_a_changed_entry_of_the_host_counts_at_once(
    layout: Layout, known_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    place = Place("box", layout, tmp_path / "far", tmp_path)
    place.go.touch()
    requests = plan_requests(parse_plan(PLAN, "two.toml"))[:1]
    async with opened(layout) as (fleet, _):
        keys: list[str] = []
        for names in (("HF_TOKEN",), ()):
            host = known_sshd.host(base=place.base, python=str(place.python), pass_env=names)
            HostBook(layout).add(host, replace=True)
            keys += await fleet.launch("box", requests)
            assert place.seen(keys[-1]) == (hashed(HF_TOKEN=TOKEN) if names else {})
        # Taken out of the entry, the name is no longer passed on to a run that had it either.
        first = keys[0]
        wait_for(lambda: not (place.run(first) / "launch.json").exists())
        await fleet.resume(first)
        assert place.seen(first, 2) == {}


def test_the_command_line_says_what_is_not_set_and_no_value(
    layout: Layout, known_sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    place = Place("box", layout, tmp_path / "far", tmp_path)
    host = known_sshd.host(base=place.base)
    (tmp_path / "two.toml").write_text(PLAN)
    place.go.touch()
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), "WANDB_API_KEY": KEY, "HF_TOKEN": TOKEN}
    env.pop("NOWHERE", None)

    def nanochat(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nanochat", *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "hush" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    ssh = ["--ssh", host.target, "--key", host.key, "--python", str(place.python)]
    nanochat("hosts", "add", "box", *ssh, "--base-dir", str(place.base), "--pass-env", "HF_TOKEN")
    assert "HF_TOKEN" in nanochat("hosts", "ls")
    said = nanochat("--no-tui", "two.toml", "--host", "box")
    warning = "NOWHERE is listed in pass_env but not set here"
    assert warning in said
    run_id = next(path.name for path in (place.base / "runs").glob("*tok_train*"))
    assert place.seen(f"box/{run_id}") == hashed(HF_TOKEN=TOKEN, WANDB_API_KEY=KEY)
    assert "HF_TOKEN WANDB_API_KEY" in nanochat("runs", "show", run_id)
    env["OTHER_SECRET"] = NEWER
    assert warning in nanochat("runs", "resume", run_id, "--pass-env", "OTHER_SECRET")
    names = hashed(HF_TOKEN=TOKEN, WANDB_API_KEY=KEY, OTHER_SECRET=NEWER)
    assert place.seen(f"box/{run_id}", 2) == names
    wait_for(lambda: not (place.run(f"box/{run_id}") / "launch.json").exists())
    for value in (TOKEN, KEY, NEWER):
        assert place.holders(value) == set()


def test_a_request_is_spelled_for_a_shell_that_has_the_variables() -> None:
    request = {
        "env": {"HF_TOKEN": TOKEN, "A": "it's"},
        "runs": ["it's", '"HF_TOKEN": "x"', "$A"],
        "plan": None,
    }
    word = _spelled(request)
    assert TOKEN not in word
    done = subprocess.run(
        ["sh", "-c", f"printf %s {word}"],
        env={"HF_TOKEN": TOKEN, "A": "it's"},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == request
    for plain in ({"run_id": "x"}, {"env": {}, "x": "it's"}):
        shown = subprocess.run(["sh", "-c", f"printf %s {_spelled(plain)}"], capture_output=True, check=True)
        assert json.loads(shown.stdout) == plain
