"""Imports as the agent keeps them: known again, read on while they grow, whole or not at all."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imported import BASE, DATA, RESUMED, events, look, nothing_made, one, points, state, take, without_times

from remote.agent import control
from remote.agent.files import AgentError
from remote.agent.imports import command, shadow


def test_the_same_log_is_imported_once(tmp_path: Path) -> None:
    log, copy = tmp_path / "a.log", tmp_path / "copy.log"
    shutil.copy(DATA / BASE, log)
    before = log.stat()
    first = one(tmp_path, log)
    shutil.copy(log, copy)
    (tmp_path / "link.log").symlink_to(log)
    for path in (log, copy, tmp_path / "link.log"):
        again = one(tmp_path, path)
        assert again["known"] and again["of"] == str(log)
        assert [run["run_id"] for run in again["runs"]] == [run["run_id"] for run in first["runs"]]
        assert not any(run["new_events"] for run in again["runs"])
    assert len(list((tmp_path / "runs").glob("2*"))) == 1
    after = log.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (
        before.st_mtime_ns, before.st_size, before.st_ino,
    )  # fmt: skip


def test_a_log_that_was_copied_anew_and_is_longer_is_read_on(tmp_path: Path) -> None:
    log, fresh = tmp_path / "a.log", tmp_path / "fresh"
    text = (DATA / BASE).read_text()
    log.write_text(text[: text.index("step 00011/")])
    [run] = one(tmp_path, log)["runs"]
    fresh.write_text(text)
    fresh.replace(log)  # another inode, as after rsync
    again = one(tmp_path, log)
    assert again["known"] and [r["run_id"] for r in again["runs"]] == [run["run_id"]]
    assert again["runs"][0]["status"] == "succeeded"
    assert [step for step, _ in points(events(tmp_path, run), "train/loss")] == list(range(20))


def test_another_log_of_the_same_name_is_another_import(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    shutil.copy(DATA / BASE, log)
    first = one(tmp_path, log)["runs"]
    log.unlink()
    shutil.copy(DATA / "classic-base.log", log)
    second = one(tmp_path, log)
    assert not second["known"] and second["runs"][0]["run_id"] != first[0]["run_id"]


def test_a_run_that_was_deleted_is_imported_anew(tmp_path: Path) -> None:
    [run] = one(tmp_path, DATA / BASE)["runs"]
    shutil.rmtree(tmp_path / "runs" / run["run_id"])
    again = one(tmp_path, DATA / BASE)
    assert not again["known"] and len(events(tmp_path, again["runs"][0])) == run["events"]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 14_700), max_size=4))
def test_a_log_read_as_it_grows_gives_what_it_gives_whole(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    base = tmp_path_factory.mktemp("grows")
    raw = (DATA / BASE).read_bytes() + (DATA / RESUMED).read_bytes()
    whole = base / "whole.log"
    whole.write_bytes(raw)
    [want] = one(base / "whole", whole)["runs"]
    log = base / "grows.log"
    log.write_bytes(b"")
    one(base, log, follow=True)
    for cut in [*sorted(cuts), len(raw)]:
        with log.open("ab") as file:
            file.write(raw[log.stat().st_size : cut])
        assert not look(base)
    [run] = one(base, log)["runs"]
    assert without_times(events(base, run)) == without_times(events(base / "whole", want))


def test_a_followed_run_is_live_until_its_log_says_that_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    text = (DATA / BASE).read_text()
    half = text.index("step 00011/")
    log.write_text(text[:half])
    [run] = one(tmp_path, log, follow=True)["runs"]
    assert run["status"] == "running"
    with log.open("a") as file:
        file.write(text[half : half + 30])
    look(tmp_path)
    assert len(events(tmp_path, run)) == run["events"]  # half a line is none
    with log.open("a") as file:
        file.write(text[half + 30 :])
    [listed] = control.ls(tmp_path)["runs"]  # `runs ls` reads on as well
    assert listed["state"]["status"] == "succeeded"
    assert [step for step, _ in points(events(tmp_path, run), "train/loss")] == list(range(20))


def test_a_program_that_begins_later_in_a_followed_log_is_a_new_run(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    shutil.copy(DATA / BASE, log)
    one(tmp_path, log, follow=True)
    with log.open("a") as file:
        file.write((DATA / "modern-sft.log").read_text())
    look(tmp_path)
    assert {entry["run"]["stage"] for entry in control.ls(tmp_path)["runs"]} == {"base_train", "chat_sft"}


def test_a_followed_log_without_steps_waits_for_its_first_one(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("Vocab size: 4,096\n")
    assert one(tmp_path, log, follow=True)["runs"] == []
    with log.open("a") as file:
        file.write((DATA / BASE).read_text())
    look(tmp_path)
    [listed] = control.ls(tmp_path)["runs"]
    assert listed["run"]["stage"] == "base_train"


def test_a_stop_ends_the_following_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    text = (DATA / BASE).read_text()
    log.write_text(text[: text.index("step 00011/")])
    [run] = one(tmp_path, log, follow=True)["runs"]
    told = control.stop(tmp_path, run["run_id"], 1.0)["state"]
    assert told["status"] == "stopped" and "what writes its log goes on" in told["reason"]
    log.write_text(text)
    look(tmp_path)
    assert len(events(tmp_path, run)) == run["events"]
    with pytest.raises(AgentError, match="was imported: resume it with the program that ran it"):
        control.resume(tmp_path, {"run_id": run["run_id"], "python": "python3", "env": {}})
    [again] = one(tmp_path, log, follow=True)["runs"]
    assert (again["run_id"], again["status"]) == (run["run_id"], "succeeded")


def test_a_log_that_nobody_writes_any_more_is_lost_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.log"
    text = (DATA / BASE).read_text()
    half = text.index("step 00011/")
    log.write_text(text[:half])
    [run] = one(tmp_path, log, follow=True)["runs"]
    os.utime(log, (1e9, log.stat().st_mtime - 2 * command.QUIET))
    look(tmp_path)  # the time is new
    look(tmp_path)
    assert (
        state(tmp_path, run)["status"] == "lost"
        and "has not grown for 20 min" in state(tmp_path, run)["reason"]
    )
    with log.open("a") as file:
        file.write(text[half : text.index("step 00015/")])
    look(tmp_path)
    assert state(tmp_path, run)["status"] == "running"


def test_what_was_broken_off_is_read_again_without_a_repeat(tmp_path: Path) -> None:
    """The document is written after the events: here it is of before, as when a process dies in between."""
    log = tmp_path / "a.log"
    text = (DATA / BASE).read_text()
    log.write_text(text[: text.index("step 00011/")])
    [run] = one(tmp_path, log)["runs"]
    [document] = (tmp_path / "imports").glob("*.json")
    before = document.read_text()
    log.write_text(text)
    one(tmp_path, log)
    whole = without_times(events(tmp_path, run))
    document.write_text(before)
    with (tmp_path / "runs" / run["run_id"] / "events.jsonl").open("a") as file:
        file.write('{"seq": 99, "t"')  # and the last line was cut off
    one(tmp_path, log)
    assert without_times(events(tmp_path, run)) == whole


def test_an_import_that_died_at_once_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DiedError(BaseException):
        pass

    def die(*_: object) -> None:
        raise DiedError

    monkeypatch.setattr(shadow.Shadow, "_settle", die)
    monkeypatch.setattr(shadow.Shadow, "forget", lambda self: None)
    with pytest.raises(DiedError):
        take(tmp_path, DATA / BASE)
    monkeypatch.undo()
    assert not look(tmp_path)
    [run] = one(tmp_path, DATA / BASE)["runs"]
    assert run["status"] == "succeeded" and len(list((tmp_path / "runs").glob("2*"))) == 1
    assert [step for step, _ in points(events(tmp_path, run), "train/loss")] == list(range(20))


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shadow, "write_all", full)
    answer = take(tmp_path, DATA / BASE)
    assert "No space left on device" in answer["problems"][0]["error"]
    assert nothing_made(tmp_path)


@pytest.mark.parametrize("what", ["{", "[]", '{"id": "x"}', '{"schema": 1, "runs": [{"run_id": "../x"}]}'])
def test_a_damaged_document_costs_that_import_only(tmp_path: Path, what: str) -> None:
    (tmp_path / "imports").mkdir()
    (tmp_path / "imports" / "abc.json").write_text(what)
    assert not look(tmp_path)
    assert one(tmp_path, DATA / BASE)["runs"][0]["status"] == "succeeded"


def test_a_log_that_vanishes_is_told_once_and_its_run_stays(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    text = (DATA / BASE).read_text()
    log.write_text(text[: text.index("step 00011/")])
    [run] = one(tmp_path, log, follow=True)["runs"]
    log.unlink()
    [problem] = look(tmp_path)
    assert problem["run_id"] == run["run_id"] and "No such file" in problem["error"]
    assert state(tmp_path, run)["status"] == "running"


def test_an_imported_run_shows_the_log_as_its_console(tmp_path: Path) -> None:
    [run] = one(tmp_path, DATA / BASE)["runs"]
    answer = control.read(tmp_path, run["run_id"], "console.log", 0, 100)
    assert answer["size"] == (DATA / BASE).stat().st_size
    made: dict[str, Any] = json.loads((tmp_path / "runs" / run["run_id"] / "run.json").read_text())
    assert made["import"]["path"] == str(DATA / BASE) and made["name"] == "modern-base"


def test_a_run_of_ours_is_none_to_import(tmp_path: Path) -> None:
    [run] = one(tmp_path, DATA / BASE)["runs"]
    answer = take(tmp_path, tmp_path / "runs" / run["run_id"] / "events.jsonl")
    assert "event log of ours" in answer["problems"][0]["error"]


def test_a_copied_run_whose_log_nobody_reads_can_be_stopped(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    text = (DATA / BASE).read_text()
    log.write_text(text[: text.index("step 00011/")])
    [run] = one(tmp_path, log, follow=True)["runs"]
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "runs", other / "runs")
    told = control.stop(other, run["run_id"], 1.0)["state"]
    assert (told["status"], told["reason"]) == ("stopped", "nothing reads its log on")
    assert control.ls(tmp_path)["runs"][0]["state"]["status"] == "running"


def test_two_imports_at_once_make_one_run(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: one(tmp_path, DATA / BASE), range(4)))
    assert len({run["run_id"] for log in found for run in log["runs"]}) == 1
    assert [log["known"] for log in found].count(False) == 1
    assert len(list((tmp_path / "runs").glob("2*"))) == 1
