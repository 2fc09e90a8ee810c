"""`nanochat hosts`, `runs` and `doctor` as a script sees them: tables, JSON, exit codes, one-line errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.run.events import EventWriter
from remote.cli import doctor
from remote.cli.printer import print_check
from remote.cli.runs import runs as runs_command
from remote.hosts.preflight import checks
from remote.runs import Gpu, Interpreter, Probe
from remote.store.store import Store

ROOT = Path(__file__).resolve().parents[3]


def nanochat(home: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command, with the base directory that `layout` put into the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", *words], capture_output=True, text=True, cwd=home, timeout=90,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    if code == 2:
        assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    return done


def test_an_order_without_a_column_is_refused(layout: Layout) -> None:
    for words in (["ls", "--reverse"], ["ls", "--reverse", "--columns", "name"]):
        with pytest.raises(UserError, match="--reverse turns the order of --sort around"):
            runs_command(words)


@pytest.mark.slow
def test_hosts_are_added_listed_changed_and_removed(layout: Layout, home: Path) -> None:
    nanochat(
        home,
        "hosts",
        "add",
        "box",
        "--ssh",
        "me@[::1]:2222",
        "--python",
        "/opt/v/bin/python",
        "--price",
        "2.5",
    )
    listed = json.loads(nanochat(home, "hosts", "ls", "--json").stdout)
    assert [host["name"] for host in listed] == ["local", "box"]
    assert (listed[1]["user"], listed[1]["address"], listed[1]["port"]) == ("me", "::1", 2222)
    assert "me@[::1]:2222" in nanochat(home, "hosts").stdout
    nanochat(home, "hosts", "add", "box", "--ssh", "alias", code=2)
    nanochat(home, "hosts", "add", "box", "--ssh", "alias", "--replace")
    nanochat(home, "hosts", "price", "box", "2.49")
    nanochat(home, "hosts", "price", "local", "0.5")
    table = nanochat(home, "hosts").stdout
    assert "2.49/h" in table and "0.5/h" in table
    nanochat(home, "hosts", "rm", "box")
    assert [host["name"] for host in json.loads(nanochat(home, "hosts", "ls", "--json").stdout)] == ["local"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hosts", "add", "box"], "--ssh"),
        (["hosts", "add", "box", "--ssh", "a:b"], "port"),
        (["hosts", "add", "local", "--ssh", "a"], "always there"),
        (["hosts", "add", "box", "--ssh", "a", "--key", "no key"], "no such key"),
        (["hosts", "add", "box", "--ssh", "a", "--pyhton", "x"], "--python"),
        (["hosts", "rm", "bax"], "no host 'bax'"),
        (["hosts", "price", "local", "much"], "'much' is not a price"),
        (["hosts", "test", "lokal"], "did you mean 'local'"),
        (["runs", "show", "nothing"], "nothing"),
        (["runs", "follow"], "RUN"),
        (["runs", "ls", "--status", "succeded"], "did you mean 'succeeded'"),
        (["runs", "ls", "--base-dir", "~nobody-of-this-name/x"], "no such home directory"),
        (["hosts", "add", "box", "--ssh", "a", "--key", "~nobody-of-this-name/k"], "no such home directory"),
        (["runs", "mark", "nothing"], "nothing to mark"),
        (["runs", "mark", "nothing", "--tag", "two words"], "is no tag"),
        (["runs", "mark", "nothing", "--tag", "x"], "no run 'nothing'"),
    ],
)
def test_a_mistake_is_exit_2_and_one_line(layout: Layout, home: Path, words: list[str], told: str) -> None:
    assert told in nanochat(home, *words, code=2).stderr


@pytest.mark.slow
def test_a_stage_run_directly_is_in_the_table(layout: Layout, home: Path) -> None:
    folder = layout.run("20260101-120000-tok_train-ab12")
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps(
            {"run_id": folder.name, "name": "mine", "stage": "tok_train", "created_at": 1.0, "options": {}}
        )
    )
    (folder / "state.json").write_text(
        json.dumps({"run_id": folder.name, "status": "succeeded", "attempt": 1})
    )
    with EventWriter(folder / "events.jsonl") as log:
        log.emit("stage_start", data={"attempt": 1, "from_step": 0, "total_steps": 1, "unit": "step"})
        log.emit("eval", step=1, data={"val/bpb": 1.5})
        log.emit("alert", data={"level": "warn", "what": "x", "message": "\x1b[2Jlook out"})
    assert "bpb 1.500" in nanochat(home, "runs", "ls").stdout
    shown = nanochat(home, "runs", "show", "mine").stdout
    assert "look out" in shown and "\x1b" not in shown
    (run,) = json.loads(nanochat(home, "runs", "ls", "--json", "--status", "succeeded").stdout)
    assert run["latest"] == {"val/bpb": 1.5}
    assert json.loads(nanochat(home, "runs", "ls", "--json", "--status", "failed").stdout) == []
    none = nanochat(home, "runs", "ls", "--status", "failed")
    assert (none.stdout, none.stderr) == ("", "none of 1 run matches\n")


def test_marks_are_kept_and_shown_without_asking_a_host(layout: Layout, home: Path) -> None:
    with Store(layout.store) as store:
        store.ingest_state("gone", {"run_id": "r1", "name": "mine", "stage": "tok_train"}, {})
    said = nanochat(
        home, "runs", "mark", "mine", "--tag", "a", "--tag", "b", "--note", " to\n\x1bkeep ", "--pin"
    )
    assert said.stdout == "r1: pinned #a #b to \N{SYMBOL FOR ESCAPE}keep\n"
    assert nanochat(home, "runs", "mark", "r1", "--untag", "b", "--no-pin").stdout.startswith("r1: #a to")
    assert nanochat(home, "runs", "mark", "r1", "--untag", "a", "--note", "").stdout == "r1: no mark\n"


@pytest.mark.slow
def test_the_doctor_has_a_line_a_check_and_a_fix_for_each_failure(layout: Layout, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", "doctor", "--json"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert done.returncode == (1 if any(check["level"] == "bad" for check in found) else 0)
    assert {check["level"] for check in found} <= {"good", "warn", "bad"}
    assert all(check["fix"] for check in found if check["level"] == "bad")
    told = " ".join(check["check"] for check in found)
    assert "PyTorch" in told and str(layout.base) in told and "rustbpe" in told


def test_what_torch_prints_as_it_loads_is_no_part_of_the_doctors_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for printed, level, told in (
        ("a banner\n2.5.0 0 -\n", "good", "PyTorch 2.5.0"),
        ("2.5.0\n", "bad", "it printed '2.5.0'"),
        ("", "bad", "it printed ''"),
    ):
        monkeypatch.setattr(doctor, "TORCH_CHECK", f"print({printed!r}, end='')")
        check = doctor._torch()
        assert check.level == level and told in check.what


def test_a_driver_that_fails_halfway_is_a_line_of_the_doctors(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lost)
    check = doctor._gpus()
    assert check.level == "warn" and "no NVIDIA GPU" in check.what


def test_a_check_prints_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    print_check("bad", "a \x1b[2J folder\x9b1m", "mend \x07it")
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\x07"} & set(printed) and "folder" in printed


def test_a_name_that_no_file_can_have_is_one_line(layout: Layout, home: Path) -> None:
    done = nanochat(home, "--no-tui", "x" * 300, code=1)
    assert done.stderr.startswith("nanochat: error: xxx") and done.stderr.endswith("File name too long\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_base_directory_that_cannot_be_made_fails_the_doctor(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", "doctor", "--json", "--base-dir", str(tmp_path / "file" / "base")],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
    )  # fmt: skip
    bad = [check for check in json.loads(done.stdout) if check["level"] == "bad"]
    assert done.returncode == 1 and any("base directory" in check["check"] for check in bad)


def probe(**changes: object) -> Probe:
    fields: dict[str, object] = {
        "host": "box", "hostname": "node", "python": "3.12.1", "agent": "abcdef012345", "cores": 8,
        "ram_total": 64 << 30, "disk_free": 500 << 30, "disk_total": 1000 << 30, "in_container": False,
        "interpreter": Interpreter("/opt/python", True, "3.12.1", "0.1.0"),
    }  # fmt: skip
    return Probe(**{**fields, **changes})  # type: ignore[arg-type]


def test_checks_of_a_host_name_what_fails_and_the_fix() -> None:
    gpus = tuple(Gpu("H100", 80 << 30) for _ in range(8))
    assert {check.level for check in checks(probe(gpus=gpus, driver="570"))} == {"good"}
    assert any("8 × H100" in check.what for check in checks(probe(gpus=gpus, driver="570")))
    broken = Interpreter("/opt/python", False, error="no module \x1b[2Jnanochat")
    found = list(checks(probe(interpreter=broken, disk_free=1 << 30)))
    assert [check.level for check in found].count("bad") == 1
    assert all(check.fix for check in found if check.level != "good")
    assert not any("\x1b" in check.what + check.fix for check in found)


def test_what_a_host_does_not_tell_is_unknown_and_gives_no_verdict() -> None:
    shared = (Gpu("NVIDIA GB10", None, mem_shared=True),)
    found = {check.what: check.level for check in checks(probe(gpus=shared, ram_total=128 << 30))}
    assert found["1 × NVIDIA GB10 (shares the host's memory), driver unknown"] == "good"
    silent = list(checks(probe(gpus=(Gpu("GPU", None),), ram_total=0, disk_free=0, disk_total=0)))
    told = " · ".join(check.what for check in silent)
    assert "GPU (memory unknown)" in told and "8 cores, memory unknown" in told
    assert "free space where the base directory lies is unknown" in told
    assert "0B" not in told and not any("free some" in check.fix for check in silent)
