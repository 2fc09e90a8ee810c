"""Evaluations in the store: from the events of runs, from files that hosts list, each of them once."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evaluation_logs import (
    BASE,
    TASKS,
    core_mean,
    core_start,
    core_task,
    end,
    log_of,
    start,
    take,
    whole_core,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.run.events import Event, parse_line
from remote.evaluation_names import Wanted, choose
from remote.evaluation_tables import rows, setting_differences, settings_line
from remote.store.evaluation_draft import Draft
from remote.store.evaluation_events import Drafts, Start, begin
from remote.store.evaluation_events import end as finish
from remote.store.evaluation_events import take as take_event
from remote.store.evaluation_files import ListedFile, Listing, listing_of, read_file
from remote.store.evaluations import Evaluation
from remote.store.schema import MIGRATIONS
from remote.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "c.sqlite") as opened:
        yield opened


def only(store: Store, kind: Any = "core") -> Evaluation:
    (found,) = store.evaluations(kind)
    return found


def listing(*files: tuple[str, object], items: dict[str, int] | None = None, **more: Any) -> Listing:
    """An agent's answer with these files, a text or a document each."""
    told = [
        {"path": path, "bytes": 10, "t": 2e9, "stamp": f"10-{hash(str(text))}",
         "text": text if isinstance(text, str) else json.dumps(text)}
        for path, text in files
    ]  # fmt: skip
    sizes = [{"path": path, "bytes": size} for path, size in (items or {}).items()]
    return listing_of({"files": told, "items": sizes, "left_out": 0, "more": False, **more})


def document(**changes: Any) -> dict[str, Any]:
    """A result of CORE as base_eval writes it."""
    tasks = {task: {"accuracy": 0.5, "centered": 0.25, "stderr": 0.1, "n": 20} for task in TASKS}
    found = {
        "checkpoint": "base/d4",
        "step": 300,
        "kind": "core",
        "tasks": tasks,
        "core": 0.25,
        "stderr": 0.02,
    }
    return found | {"settings": {"max_per_task": 20}, "complete": True} | changes


# -- events ----------------------------------------------------------------------------------------


def test_an_evaluation_grows_with_its_run_and_is_complete_at_its_end(store: Store) -> None:
    log = whole_core()
    lines = log.splitlines(keepends=True)
    take(store, "r1", lines[0])
    one = only(store)
    assert (one.status, one.name, one.run, one.mean, dict(one.tasks)) == (
        "running",
        "base/d4@300",
        "box/r1",
        None,
        {},
    )
    seen = {store.evaluations_version()}
    offset = len(lines[0])
    for line in lines[1:]:
        store.ingest("box", "r1", "events.jsonl", offset, line)
        offset += len(line)
        seen.add(store.evaluations_version())
    assert len(seen) == len(lines)  # each line is news
    one = only(store)
    assert (one.status, one.mean, one.mean_stderr) == ("complete", 0.25, 0.02)
    figure = one.tasks["copa"]
    assert (figure.accuracy, figure.centered, figure.stderr, figure.n) == (0.5, 0.25, 0.1, None)
    assert list(one.tasks) == list(TASKS) and one.settings == {"max_per_task": 20, "dtype": "float32"}
    bits = only(store, "bpb")
    assert {name: figure.accuracy for name, figure in bits.tasks.items()} == {"train": 1.5, "val": 1.6}
    assert (bits.mean, bits.name) == (1.6, "base/d4@300")


def test_wherever_a_log_is_cut_the_evaluations_are_the_same(store: Store) -> None:
    log = whole_core()
    take(store, "whole", log)
    for cut in range(0, len(log), 61):
        take(store, f"r{cut}", log[:cut])
        take(store, f"r{cut}", log)  # from the start: what is known changes nothing
    for kind, count in (("core", len(range(0, len(log), 61)) + 1), ("bpb", len(range(0, len(log), 61)) + 1)):
        found = [one for one in store.evaluations() if one.kind == kind]
        assert len(found) == count
        first = found[0]
        for one in found[1:]:
            assert (one.tasks, one.mean, one.settings, one.t) == (
                first.tasks,
                first.mean,
                first.settings,
                first.t,
            )


def test_progress_is_the_runs_own_and_a_dead_run_has_ended(store: Store) -> None:
    log = log_of(core_start(), core_task("copa", 300), ("metric", None, {"progress": 0.4}))
    take(store, "r1", log)
    before = store.evaluations_version()
    assert (only(store).status, only(store).progress) == ("running", 0.4)
    store.ingest("box", "r1", "events.jsonl", len(log), log_of(("metric", None, {"progress": 0.6}), first=3))
    assert only(store).progress == 0.6 and store.evaluations_version() > before
    store.ingest_state("box", {"run_id": "r1", "stage": "base_eval"}, {"run_id": "r1", "status": "failed"})
    assert (only(store).status, only(store).progress) == ("ended", None)


def test_an_evaluation_with_too_few_tasks_for_the_mean_is_partial(store: Store) -> None:
    take(store, "r1", log_of(core_start(), core_task("copa", 300), end()))
    assert only(store).status == "partial" and only(store).mean is None


def core_parts() -> list[tuple[str, int | None, dict[str, Any]]]:
    """CORE and bits per byte as base_eval tells them: each event with its part of the document."""
    told = {"checkpoint": "base/d4", "step": 300, "kind": "core"}
    parts = []
    for task in TASKS:
        kind, step, flat = core_task(task, 300)
        figure = {"accuracy": 0.5, "centered": 0.25}
        part = {**told, "tasks": {task: figure}, "complete": task == TASKS[-1]}
        parts.append((kind, step, {**flat, "evaluation": part}))
    kind, step, flat = core_mean(300)
    parts.append((kind, step, {**flat, "evaluation": {**told, "core": 0.25, "complete": True}}))
    return parts


def test_what_was_through_before_its_run_died_is_complete(store: Store) -> None:
    bits = {"kind": "bpb", "checkpoint": "base/d4", "step": 300, "bpb": {"val": 1.6}, "complete": True}
    log = log_of(core_start(), *core_parts())
    take(store, "r1", log)
    assert only(store).status == "complete" and only(store, "bpb").status == "running"
    again = log_of(core_start(), *core_parts()[:-1], first=5)
    store.ingest("box", "r1", "events.jsonl", len(log), again)
    assert only(store).status == "running"  # a new attempt; its mean is still to come
    take(
        store, "r2", log_of(core_start(), *core_parts(), ("eval", 300, {"val/bpb": 1.6, "evaluation": bits}))
    )
    assert {one.kind: one.status for one in store.evaluations() if one.run == "box/r2"} == {
        "core": "complete",
        "bpb": "complete",
    }
    take(store, "r3", log_of(core_start(), *core_parts()[:-1]), status="failed")
    assert {one.status for one in store.evaluations() if one.run == "box/r3"} == {"ended"}


def test_documents_in_events_tell_items_settings_and_subjects(store: Store) -> None:
    subjects = {"anatomy": {"accuracy": 0.2, "n": 5, "stderr": 0.1}}
    told = {"MMLU": {"accuracy": 0.3, "centered": 0.066, "stderr": 0.05, "n": 40, "subjects": subjects}}
    part = {"checkpoint": "sft/d4", "step": 650, "kind": "chat", "settings": {"temperature": 0.5}}
    part |= {"tasks": told, "items": "/far/base/runs/r1/chat-items.jsonl"}
    info = {"checkpoint": f"{BASE}/chatsft_checkpoints/d4/step_000650"}
    event = ("eval", 650, {"chat/MMLU": 0.3, "chat/MMLU_stderr": 0.05, "evaluation": part})
    take(store, "r1", log_of(start("chat_eval", info), event, end()), "chat_eval")
    one = only(store, "chat")
    assert one.name == "sft/d4@650" and one.settings["temperature"] == 0.5
    assert one.tasks["MMLU"].n == 40 and one.tasks["MMLU"].subjects["anatomy"].n == 5
    assert one.items is not None and one.items.path == "runs/r1/chat-items.jsonl"
    assert [row.task for row in rows("chat", [one])] == ["MMLU", "MMLU/anatomy"]


def test_what_a_start_tells_stands_before_the_first_figure(store: Store) -> None:
    told = {"checkpoint": "huggingface/gpt2", "step": None, "kind": "core", "settings": {"max_per_task": 5}}
    info = {
        "model": "/models/gpt2",
        "checkpoint": "",
        "max_per_task": 5,
        "evaluations": [told, {"kind": 3}, None],
    }
    take(store, "r1", log_of(start("base_eval", {**info, "eval": ["core"]})))
    one = only(store)
    assert (one.name, one.settings, one.status) == ("huggingface/gpt2", {"max_per_task": 5}, "running")


def test_old_chat_events_have_items_and_centered_figures_too(store: Store) -> None:
    info = {
        "checkpoint": f"{BASE}/chatrl_checkpoints/d4/step_000030",
        "tasks": {"GSM8K": 100, "ARC-Easy": 200},
    }
    log = log_of(
        start("chat_eval", info),
        ("eval", 30, {"chat/GSM8K": 0.1, "chat/GSM8K_stderr": 0.03}),
        ("eval", 30, {"chat/ARC-Easy": 0.5, "chat/ARC-Easy_stderr": 0.04}),
        ("eval", 30, {"chat/ChatCORE": 0.2, "chat/ChatCORE_cat": 0.3}),
        end(),
    )
    take(store, "r1", log, "chat_eval")
    one = only(store, "chat")
    assert (one.tasks["GSM8K"].n, one.tasks["ARC-Easy"].n, one.mean) == (100, 200, 0.2)
    assert one.tasks["ARC-Easy"].centered == pytest.approx(1 / 3) and one.figures == {"ChatCORE_cat": 0.3}
    assert one.settings["top_k"] == 50 and one.status == "complete"


def training(*events: tuple[str, int | None, dict[str, Any]], **changes: Any) -> bytes:
    info = {"checkpoint_dir": f"{BASE}/base_checkpoints/d4", "total_batch_size": 100, "flops_per_token": 3}
    return log_of(start("base_train", info), *events, **changes)


def core_of_training(step: int, mean: float) -> list[tuple[str, int, dict[str, Any]]]:
    return [*(core_task(task, step) for task in TASKS), core_mean(step, mean)]


def test_a_training_has_an_evaluation_at_each_of_its_steps(store: Store) -> None:
    log = training(
        ("eval", 0, {"val/bpb": 3.0}),
        ("eval", 10, {"val/bpb": 2.0}),
        *core_of_training(10, 0.1),
        core_task("copa", 20),
    )
    take(store, "r1", log, "base_train")
    assert [(one.step, one.mean) for one in store.evaluations("bpb")] == [(10, 2.0), (0, 3.0)]
    now, before = store.evaluations("core")
    assert (before.name, before.mean, before.status) == (
        "base/d4@10",
        0.1,
        "complete",
    ) and before.while_training
    assert before.figures == {"flops": 3000.0, "tokens": 1000.0}
    assert (now.step, now.status, now.progress) == (20, "running", 1 / 22)
    assert before.items is not None and before.items.path == "runs/r1/core/step_000010/core-items.jsonl"


def test_what_a_resumed_training_makes_anew_is_dropped(store: Store) -> None:
    first = training(*core_of_training(10, 0.1), *core_of_training(20, 0.2), ("eval", 20, {"val/bpb": 2.0}))
    info = {"checkpoint_dir": f"{BASE}/base_checkpoints/d4"}
    again = log_of(
        start("base_train", info, attempt=2, from_step=10),
        *core_of_training(20, 0.9),
        first=first.count(b"\n"),
    )
    take(store, "r1", first, "base_train")
    assert [one.mean for one in store.evaluations("core")] == [0.2, 0.1]
    ids = {one.step: one.id for one in store.evaluations("core")}
    take(store, "r1", first + again, "base_train")
    assert [(one.step, one.mean) for one in store.evaluations("core")] == [(20, 0.9), (10, 0.1)]
    assert store.evaluations("bpb") == []
    assert {one.step: one.id for one in store.evaluations("core")}[10] == ids[10]


def test_a_log_that_turned_out_to_be_another_takes_its_evaluations_along(store: Store) -> None:
    log = whole_core()
    take(store, "r1", log)
    store.forget("box", "r1", "events.jsonl", len(log))
    assert store.evaluations() == []
    store.ingest("box", "r1", "events.jsonl", 0, whole_core(mean=0.5))
    assert only(store).mean == 0.5


def test_tokenizers_are_evaluations_too(store: Store) -> None:
    info = {"tokenizer_dir": f"{BASE}/tokenizer", "vocab_size": 4096}
    values = {"tok/news/bytes_per_token": 3.5, "tok/val/bytes_per_token": 3.9}
    take(store, "r1", log_of(start("tok_eval", info), ("eval", None, values), end()), "tok_eval")
    one = only(store, "tokenizer")
    assert (one.name, one.mean, one.status) == ("tokenizer", 3.9, "complete")
    assert one.settings["vocab_size"] == 4096
    assert [row.task for row in rows("tokenizer", [one])] == ["news/bytes_per_token", "val/bytes_per_token"]


def test_a_tokenizer_in_training_tells_its_compression(store: Store) -> None:
    log = log_of(start("tok_train", {}), ("eval", None, {"tok/bytes_per_token": 3.25}), end())
    take(store, "r1", log, "tok_train")
    one = only(store, "tokenizer")
    assert (one.name, one.mean, one.status, one.while_training) == ("tokenizer", 3.25, "complete", True)


def test_odd_events_cost_nothing(store: Store) -> None:
    odd: list[tuple[str, int | None, dict[str, Any]]] = [
        ("eval", 5, {"core/copa": 0.5}),  # before its start
        core_start(),
        ("eval", 300, {"core/copa": "NaN", "core/boolq": 10**400, "core/winograd": [], "core/": 0.5}),
        ("eval", 300, {"evaluation": {"kind": "core", "tasks": 3}, "core/piqa": 0.25}),
        ("eval", -7, {"val/bpb": True, "core/\x1b[31mred": 0.5}),
        start("base_eval", {"checkpoint": 3, "eval": [[]], "tasks": {"x": "y"}}),  # nothing of it is usable
        end(status="odd"),
    ]
    take(store, "r1", log_of(*odd))
    one = next(one for one in store.evaluations("core") if one.step == 300)
    assert one.tasks["piqa"].accuracy == 0.25 and "copa" not in one.tasks
    assert not any("\x1b" in task for task in one.tasks)


def test_an_older_store_gains_the_evaluations_of_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    db = sqlite3.connect(path)
    for script in MIGRATIONS[:9]:
        db.executescript(script)
    for number in range(60):  # more than are read in one transaction
        run = {"stage": "base_eval", "options": {}}
        db.execute(
            "INSERT INTO runs (id, host, run_id, run) VALUES (?, 'box', ?, ?)",
            (number, f"r{number}", json.dumps(run)),
        )
        for line in whole_core(step=number).splitlines():
            event = parse_line(line)
            assert event is not None
            row = (number, event.seq, event.t, event.kind, event.step, json.dumps(event.data))
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
    db.execute("PRAGMA user_version = 9")
    db.commit()
    db.close()
    with Store(path) as store:
        assert {one.step for one in store.evaluations("core")} == set(range(60))
        assert {one.status for one in store.evaluations()} == {"complete"}
        assert [one.id for one in store.evaluations()] == [one.id for one in store.evaluations()]


def test_of_a_run_with_very_many_the_last_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remote.store.evaluation_rows.MOST_OF_RUN", 5)
    values = [("eval", step, {"val/bpb": 2.0, "train/bpb": 1.0}) for step in range(40)]
    take(store, "r1", training(*values), "base_train")
    assert [one.step for one in store.evaluations("bpb")] == [39, 38, 37, 36, 35]


# -- files -----------------------------------------------------------------------------------------


def test_a_file_of_a_known_run_adds_what_its_events_leave_out(store: Store) -> None:
    take(store, "r1", whole_core())
    for told in (document(), document(run="r1", core=0.25)):  # of the release before, and of this one
        store.take_listing("box", listing(("base_eval/base_model_000300.json", told)), 1e9)
        one = only(store)
        assert one.tasks["copa"].n == 20 and one.run == "box/r1" and one.status == "complete"


def test_files_without_a_run_are_evaluations_and_go_with_their_file(store: Store) -> None:
    files = [
        ("base_eval/base_model_000300.json", document()),
        ("chat_eval/sft_d4_000650.json", {"chat/GSM8K": 0.25, "chat/GSM8K_stderr": 0.1, "step": 650}),
    ]
    store.take_listing("box", listing(*files, items={"chat_eval/sft_d4_000650.jsonl": 700}), 1e9)
    assert {one.name for one in store.evaluations()} == {"base/d4@300", "sft/d4@650"}
    chat = only(store, "chat")
    assert chat.items is not None and (chat.items.path, chat.items.bytes) == (
        "chat_eval/sft_d4_000650.jsonl",
        700,
    )
    before = store.evaluations_version()
    store.take_listing("box", listing(*files, items={"chat_eval/sft_d4_000650.jsonl": 700}), 1e9)
    assert store.evaluations_version() == before  # nothing new
    store.take_listing("box", listing(files[0]), 1e9)
    assert {one.name for one in store.evaluations()} == {"base/d4@300"}


CSV = "Task, Accuracy, Centered\ncopa, 0.600000, 0.200000\nCORE, , 0.208412\n"
REPORT = "## Base model evaluation\n\n- Model: base_model (step 700)\n- CORE metric: 0.2084\n- copa: 0.2000\n"


def test_upstreams_table_and_report_are_one_evaluation_of_the_tag_with_that_step(store: Store) -> None:
    files = [("base_eval/base_model_000700.csv", CSV), ("report/base-model-evaluation.md", REPORT)]
    store.take_listing("box", listing(*files, steps={"base/d20": [700], "base/d12": [650]}), 1e9)
    one = only(store)
    assert (one.name, one.mean, one.upstream) == ("base/d20@700", 0.208412, True)
    assert one.tasks["copa"].accuracy == 0.6 and not one.gone
    store.take_listing("box", listing(*files, steps={"base/d20": [700], "base/d12": [700]}), 1e9)
    assert only(store).name == "base/?@700"


def test_published_tables_stand_beside_whatever_host_has_them(store: Store) -> None:
    for host in ("box", "far"):
        store.take_listing(host, listing(("eval_bundle/openai-community-gpt2-xl.csv", CSV)), 1e9)
    take(store, "r1", whole_core())
    reference, own = sorted(store.evaluations("core"), key=lambda one: not one.reference)
    assert (reference.name, reference.reference, reference.mean) == ("gpt2-xl", True, 0.208412)
    mean, copa = rows("core", [reference, own])[:2]
    assert mean.is_mean and [figure and figure.centered for figure in mean.figures] == [0.208412, 0.25]
    assert copa.task == "copa" and copa.category == "commonsense reasoning"


def test_a_damaged_file_is_one_line_and_the_others_stand(store: Store) -> None:
    files = [
        ("base_eval/base_model_000100.json", '{"half'),
        ("base_eval/base_model_000200.csv", "a,b\n1,2\n"),
        ("base_eval/base_model_000250.csv", f"Task, Accuracy, Centered\n{'x' * 200_000}, 0.5, 0.2\n"),
        ("base_eval/base_model_000300.json", document()),
        ("base_eval/base_model_000700.csv", CSV.rpartition("CORE")[0]),
    ]
    store.take_listing("box", listing(*files), 1e9)
    listed = store.listed("box")
    assert listed is not None
    assert [line.split(": ")[0] for line in listed.problems] == [path for path, _ in files[:3]]
    cut, whole = sorted(store.evaluations(), key=lambda one: one.status, reverse=True)
    assert (cut.status, whole.status) == ("partial", "complete") and "cut short" in cut.problem


def test_a_file_that_could_not_be_read_is_asked_for_again(store: Store) -> None:
    path = "base_eval/base_model_000300.json"
    entry = {"path": path, "bytes": 10, "t": 2e9, "stamp": "10-1"}
    store.take_listing("box", listing_of({"files": [{**entry, "error": "Permission denied"}]}), 1e9)
    listed = store.listed("box")
    assert listed is not None and listed.problems == (f"{path}: Permission denied",)
    assert store.listed_files("box") == {}
    store.take_listing("box", listing_of({"files": [{**entry, "text": json.dumps(document())}]}), 1e9)
    listed = store.listed("box")
    assert listed is not None and not listed.problems and only(store).mean == 0.25
    assert store.listed_files("box") == {path: "10-1"}


def test_an_evaluation_of_a_deleted_checkpoint_says_so(store: Store) -> None:
    take(store, "r1", whole_core())
    assert not only(store).gone  # nobody has looked
    store.take_listing("box", listing(steps={"base/d4": [100, 300]}), 1e9)
    assert not only(store).gone
    store.take_listing("box", listing(steps={"base/d4": [100]}), 1e9)
    assert only(store).gone
    store.take_listing("box", listing(steps={}), 1e9)
    assert only(store).gone and only(store).items is None


def test_two_hosts_with_one_base_directory_have_each_evaluation_once(store: Store) -> None:
    for host in ("box", "far"):
        take(store, "r1", whole_core(), host=host)
        store.take_listing(host, listing(("base_eval/base_model_000300.json", document(run="r1"))), 1e9)
    assert only(store).host == "box"


def test_an_old_chat_file_tells_its_checkpoint_by_its_name(store: Store) -> None:
    values = {"chat/GSM8K": 0.5, "chat/GSM8K_stderr": 0.1, "chat/ChatCORE": 0.3, "chat/ChatCORE_cat": 0.2}
    items = "chat_eval/rl_d4_wide_000030.jsonl"
    told = listing(("chat_eval/rl_d4_wide_000030.json", values), items={items: 9})
    store.take_listing("box", told, 1e9)
    found = only(store, "chat")
    assert (found.name, found.mean, found.figures) == ("rl/d4_wide@30", 0.3, {"ChatCORE_cat": 0.2})
    assert (found.tasks["GSM8K"].accuracy, found.tasks["GSM8K"].stderr) == (0.5, 0.1)
    assert found.items is not None and found.items.path == items


def test_figures_of_old_chat_files_that_none_can_be_are_left_out(store: Store) -> None:
    values = {
        "chat/GSM8K": 5.0, "chat/MMLU": 0.5, "chat/MMLU_stderr": -1.0, "chat/ARC-Easy": -0.1,
        "chat/ChatCORE": 1e300, "chat/ChatCORE_cat": -0.1,
    }  # fmt: skip
    store.take_listing("box", listing(("chat_eval/sft_d4_000300.json", values)), 1e9)
    found = only(store, "chat")
    assert found.tasks.keys() == {"MMLU"} and found.tasks["MMLU"].stderr is None
    assert found.mean is None and found.figures == {"ChatCORE_cat": -0.1}


# -- names -----------------------------------------------------------------------------------------


def test_a_name_means_the_last_step_and_of_several_settings_the_newest_and_says_so(store: Store) -> None:
    take(store, "r1", whole_core(step=100))
    take(store, "r2", whole_core(step=300, most=500))
    take(store, "r3", whole_core(step=300, most=20, mean=0.5) + log_of(end(), first=7))
    known = store.evaluations()
    chosen = choose(known, "base/d4")
    assert (chosen.one.run, chosen.one.kind) == ("box/r3", "core")
    assert "has 2 CORE evaluations: this is" in chosen.note and "max_per_task 500" in chosen.note
    (other,) = chosen.others
    assert (
        choose(known, str(other.id)).one == other and choose(known, "base/d4", Wanted(run="r2")).one == other
    )
    assert setting_differences(chosen.one, other) == ["max_per_task: 20 and 500"]
    assert (
        choose(known, "base/d4@100").note == ""
        and choose(known, "base/d4", Wanted(kind="bpb")).one.kind == "bpb"
    )


def test_another_bundle_is_another_setting(store: Store) -> None:
    bundles = {"r1": "46b57fa056d9", "r2": "0a1b2c3d4e5f"}
    told = {run: {"max_per_task": 20, "device": run, "bundle": bundle} for run, bundle in bundles.items()}
    files = [(f"base_eval/{run}.json", document(run=run, settings=told[run])) for run in bundles]
    store.take_listing("box", listing(*files), 1e9)
    for run in bundles:
        take(store, run, whole_core())
    known = store.evaluations("core")
    chosen = choose(known, "base/d4")
    (other,) = chosen.others
    line, *more = setting_differences(chosen.one, other)
    assert line.startswith("bundle: ") and not more
    assert "bundle" not in settings_line(other)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("base/d5", "no evaluation of 'base/d5' .*base/d4"),
        ("base/d4@200", "base/d4 was evaluated at 300"),
        ("gpt9", "no evaluation of 'gpt9'"),
        ("99", "no evaluation of '99'"),
        pytest.param("9" * 5_000, "no evaluation of '999", id="5000 digits"),
        ("\x1b[31m", "no evaluation of"),
    ],
)
def test_a_name_that_nobody_evaluated_gets_close_ones(store: Store, name: str, told: str) -> None:
    take(store, "r1", whole_core())
    with pytest.raises(UserError, match=told) as error:
        choose(store.evaluations(), name)
    assert "\x1b" not in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(
        UserError, match=r"sft/d5 on host 'box' has not been evaluated .*chat_eval --source sft"
    ):
        choose(store.evaluations(), "sft/d5@3", there={"sft/d5": "box"})
    with pytest.raises(UserError, match="there is CORE"):
        choose(store.evaluations("core"), "base/d4", Wanted(kind="chat"))


# -- whatever a host says --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(
    ["base_eval/base_model_000300.json", "base_eval/x.csv", "report/x.md", "chat_eval/sft_d4_000001.json"]
)


@settings(max_examples=80)
@given(answer=JSON, path=PATHS, document=JSON, text=st.text(max_size=60))
def test_no_answer_of_a_host_is_fatal(answer: Any, path: str, document: Any, text: str) -> None:
    listing_of(answer if isinstance(answer, dict) else {"files": answer, "items": answer, "steps": answer})
    for content in (
        text,
        json.dumps(document),
        f"Task, Accuracy, Centered\n{text}",
        f"## Chat evaluation x\n- {text}",
    ):
        drafts, problem = read_file(ListedFile(path, 1, 1e9, "1", content))
        assert isinstance(problem, str) and "\n" not in problem
        for draft in drafts:
            kept = json.dumps(draft.as_json())
            assert Draft.read(draft.kind, draft.step, draft.checkpoint, draft.t, kept) == draft
    assert Draft.read("core", 1, "base/d4", 1e9, json.dumps(document)).kind == "core"


@settings(max_examples=80)
@given(kind=st.sampled_from(["stage_start", "eval", "stage_end"]), first=JSON, second=JSON)
def test_no_event_is_fatal(kind: str, first: Any, second: Any) -> None:
    drafts: Drafts = {}
    started = Start.read("r1", {"stage": "base_eval", "info": first}, {})
    begin(started, drafts, 1e9)
    data = (
        second if isinstance(second, dict) else {"core/copa": second, "evaluation": second, "val/bpb": second}
    )
    take_event(started, drafts, Event(1, 1e9, "eval", 300, data))
    finish(started, drafts, Event(2, 1e9, "stage_end", None, data))
    for draft in drafts.values():
        json.dumps(draft.as_json(), allow_nan=False)
