"""`nanochat evals` as a person and a script see it, over evaluations of a real checkpoint and of a host."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from evaluation_logs import core_start, core_task, end, log_of, start, take, whole_core

from nanochat.cli import main
from nanochat.common.paths import Layout
from remote.cli import evals
from remote.fleet.fleet import Fleet
from remote.hosts.book import Host, HostBook
from remote.store.store import Store

ROOT = Path(__file__).resolve().parents[3]
TASKS = "copa,winograd"
EVALUATE_TWICE = f"""
import sys
from nanochat.cli import main
for most in ("12", "20"):
    code = main(["base_eval", "--eval", "core", "--tasks", "{TASKS}", "--max-per-task", most])
    if code: sys.exit(code)
"""


@dataclass(frozen=True)
class Said:
    """What a command has printed."""

    stdout: str
    stderr: str


Told = Callable[..., Said]


def nanochat(base: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python over a base directory, with nothing of the user's."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, encoding="utf-8", timeout=120, cwd=base,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(base), "NANOCHAT_BASE_DIR": str(base)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, shared_reference: Path, shared_data: Path) -> Path:
    """A base directory with a real checkpoint, evaluated twice, with other settings; its store knows them."""
    base = tmp_path_factory.mktemp("judged")
    shutil.copytree(shared_reference / "checkpoints" / "modern", base, dirs_exist_ok=True)
    (base / "eval_bundle").symlink_to(shared_data / "eval_bundle")
    nanochat(base, "-c", EVALUATE_TWICE)
    other = base / "base_checkpoints" / "other"  # a checkpoint as far as an agent looks
    other.mkdir()
    for name in ("model_000001.pt", "meta_000001.json"):
        (other / name).write_text("{}", encoding="utf-8")
    done = nanochat(base, "-m", "nanochat", "evals", "show", "base/d2", "--json")
    assert json.loads(done.stdout)["settings"]["max_per_task"] == 20
    return base


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the command prints of a base directory whose store is up to date: no agent is asked."""

    async def known(fleet: Fleet, only: str) -> None:
        if only:
            fleet.hosts.get(only)

    def run(base: Path, *words: str, code: int = 0) -> Said:
        monkeypatch.setattr(evals, "_look", known)
        monkeypatch.setenv("NANOCHAT_BASE_DIR", str(base))
        assert main(["evals", *words]) == code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Said(captured.out, captured.err)

    return run


def items_of(base: Path, run: str) -> list[dict[str, Any]]:
    """The items of a run, as a plain script reads them."""
    text = (base / "runs" / run / "core-items.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_show_tells_of_a_real_checkpoint_what_its_items_say(told: Told, judged: Path) -> None:
    done = told(judged, "show", "base/d2", "--json")
    found = json.loads(done.stdout)
    assert (found["checkpoint"], found["step"], found["status"], found["core"]) == (
        "base/d2",
        300,
        "partial",
        None,
    )
    assert found["settings"]["max_per_task"] == 20 and list(found["tasks"]) == TASKS.split(",")
    items = items_of(judged, found["run"])
    for task, figure in found["tasks"].items():
        right = [item["correct"] for item in items if item["task"] == task]
        assert figure["n"] == len(right) == 20
        assert figure["accuracy"] == pytest.approx(sum(right) / 20)
        assert figure["centered"] == pytest.approx(2 * figure["accuracy"] - 1)
        assert figure["stderr"] == pytest.approx((figure["accuracy"] * (1 - figure["accuracy"]) / 20) ** 0.5)
    assert "has 2 CORE evaluations: this is" in done.stderr and "max_per_task 12" in done.stderr
    text = told(judged, "show", "base/d2").stdout
    assert f"{found['tasks']['copa']['accuracy']:.4f}" in text and "max_per_task 20" in text


def test_every_form_of_the_list_holds_the_same(told: Told, judged: Path) -> None:
    documents = json.loads(told(judged, "ls", "--json").stdout)
    own = [one for one in documents if "reference" not in one]
    published = {one["checkpoint"] for one in documents if "reference" in one}
    assert published == {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"}
    assert [one["settings"]["max_per_task"] for one in own] == [20, 12]
    table = list(csv.DictReader(io.StringIO(told(judged, "ls", "--csv").stdout)))
    assert [int(row["id"]) for row in table] == [one["id"] for one in documents]
    markdown = told(judged, "ls", "--md").stdout.splitlines()
    assert len(markdown) == 2 + len(documents) and all(line.startswith("| ") for line in markdown)
    text = told(judged).stdout
    assert "base/d2@300" in text and " 2 tasks " in text and "partial" not in text and "published" in text
    assert told(judged, "ls", "--kind", "chat").stdout == ""


def test_a_published_model_stands_beside_a_checkpoint(told: Told, judged: Path) -> None:
    text = told(judged, "show", "gpt2-xl", "base/d2", "--md").stdout
    assert "| gpt2-xl" in text and "| base/d2@300" in text and "| CORE" in text
    exact = list(csv.DictReader(io.StringIO(told(judged, "show", "gpt2-xl", "--csv").stdout)))
    assert [row["centered"] for row in exact if row["task"] == "CORE"] == ["0.256525"]


def test_two_evaluations_are_compared_on_the_items_both_have(told: Told, judged: Path) -> None:
    documents = json.loads(told(judged, "ls", "--json").stdout)
    b, a = [one for one in documents if "reference" not in one]
    found = json.loads(told(judged, "compare", str(a["id"]), str(b["id"]), "--json").stdout)
    first, second = items_of(judged, a["run"]), items_of(judged, b["run"])
    for row in found["tasks"]:
        ours = {item["index"]: item["correct"] for item in first if item["task"] == row["task"]}
        theirs = {item["index"]: item["correct"] for item in second if item["task"] == row["task"]}
        both = ours.keys() & theirs.keys()
        assert (row["items"], row["only_b"]) == (12, 8) and len(both) == 12
        assert row["wins"] == sum(theirs[index] and not ours[index] for index in both)
        assert row["a"] == pytest.approx(sum(ours[index] for index in both) / 12)
    assert any("max_per_task: 12 and 20" in note for note in found["notes"])
    table = told(judged, "compare", str(a["id"]), str(b["id"]), "--csv")
    assert "max_per_task: 12 and 20" in table.stderr and "16 of B are not" in table.stderr
    text = told(judged, "compare", str(a["id"]), "gpt2").stdout
    assert "not paired" in text and "copa" in text
    table = told(judged, "compare", str(a["id"]), "gpt2", "--csv")
    assert [row["task"] for row in csv.DictReader(io.StringIO(table.stdout))] == ["copa", "winograd"]
    assert "21 rows left out that only one of them has" in table.stderr


def test_items_are_listed_found_and_given_whole(told: Told, judged: Path) -> None:
    done = told(judged, "items", "base/d2", "--task", "copa", "--most", "3")
    assert len(done.stdout.splitlines()) == 4 and "20 items" in done.stderr
    wrong = told(judged, "items", "base/d2", "--wrong", "--most", "0", "--json").stdout.splitlines()
    records = [json.loads(line) for line in wrong]
    assert records and not any(record["correct"] for record in records)
    word = records[0]["prompt"].split()[-1]
    found = told(judged, "items", "base/d2", "--find", word, "--csv", "--most", "0").stdout
    rows = list(csv.DictReader(io.StringIO(found)))
    assert (records[0]["task"], str(records[0]["index"])) in {(row["task"], row["index"]) for row in rows}
    error = told(judged, "items", "base/d2", "--task", "cpoa", code=2).stderr
    assert "no items of 'cpoa'" in error and "copa" in error


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("show", "base/d3"), "no evaluation of 'base/d3' (did you mean 'base/d2'?)"),
        (
            ("show", "base/other"),
            "base/other on host 'local' has not been evaluated (evaluate it: nanochat base_eval",
        ),
        (("show", "base/d2@7"), "base/d2 was evaluated at 300"),
        (("show", "base/d2", "--kind", "chat"), "no such evaluation of 'base/d2' (there is CORE"),
        (("items", "gpt2"), "no items are kept"),
        (("compare", "base/d2", "base/d2"), "are the same evaluation"),
        (("items", "base/d2", "--most", "-1"), "not a count"),
        (("shwo",), "unknown word 'shwo'"),
    ],
)
def test_what_is_not_there_is_one_line(told: Told, judged: Path, words: tuple[str, ...], line: str) -> None:
    done = told(judged, *words, code=2)
    assert line in done.stderr.splitlines()[-1] and done.stdout == ""


def test_half_a_file_and_a_deleted_checkpoint_are_told_and_the_rest_is_shown(
    judged: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(judged, base, symlinks=True)
    shutil.rmtree(base / "base_checkpoints")
    items = max((base / "runs").iterdir()) / "core-items.jsonl"
    raw = items.read_bytes()
    items.write_bytes(raw[: len(raw) // 2])
    (base / "base_eval" / "base_model_000300-partial.json").write_text("{", encoding="utf-8")
    done = nanochat(base, "-m", "nanochat", "evals", "items", "base/d2", "--most", "0", "--csv")
    assert "incomplete" in done.stderr and "its checkpoint was deleted" in done.stderr
    assert "base_model_000300-partial.json: not the result of an evaluation" in done.stderr
    assert 0 < len(done.stdout.splitlines()) - 1 < 40


def item(index: int, **changes: object) -> str:
    """The line of an item, of version 2."""
    known = {
        "v": 2,
        "task": "MMLU",
        "subject": "anatomy",
        "index": index,
        "key": f"{index:016x}",
        "correct": True,
    }
    known |= {
        "losses": [0.5, 1.0],
        "prediction": "A",
        "gold": "A",
        "letters": ["A", "B"],
        "choices": ["x", "y"],
    }
    return json.dumps({**known, "prompt": f"question {index}", **changes}) + "\n"


@pytest.fixture
def chatted(layout: Layout) -> Path:
    """Three chat evaluations of this machine: two of the same items, and one of another data set's."""
    subject = {"accuracy": 0.5, "centered": 0.33, "stderr": 0.2, "n": 4}
    figure = {"MMLU": {**subject, "subjects": {"anatomy": subject}}}
    with Store(layout.store) as store:
        for number, shift in enumerate((0, 0, 100)):
            name = f"sft/d{number}"
            path = f"/x/chatsft_checkpoints/d{number}/step_000650"
            part = {"checkpoint": name, "step": 650, "kind": "chat", "settings": {}, "tasks": figure}
            event = ("eval", 650, {"chat/MMLU": 0.5, "evaluation": part})
            log = log_of(start("chat_eval", {"checkpoint": path}), event, end())
            take(store, f"r{number}", log, "chat_eval", host="local")
            items = layout.base / "runs" / f"r{number}" / "chat-items.jsonl"
            items.parent.mkdir(parents=True)
            lines = [item(index + shift, correct=index != number) for index in range(4)]
            items.write_text("".join(lines), encoding="utf-8")
    return layout.base


def test_chat_is_told_and_compared_by_subject(told: Told, chatted: Path) -> None:
    found = json.loads(told(chatted, "show", "sft/d0", "--json").stdout)
    assert found["tasks"]["MMLU"]["subjects"]["anatomy"]["n"] == 4 and found["chatcore"] is None
    assert "  anatomy" in told(chatted, "show", "sft/d0").stdout
    compared = list(csv.DictReader(io.StringIO(told(chatted, "compare", "sft/d0", "sft/d1", "--csv").stdout)))
    assert [row["task"] for row in compared] == ["MMLU", "MMLU/anatomy"]
    assert {(row["wins"], row["losses"], row["items"]) for row in compared} == {("1", "1", "4")}
    rows = told(chatted, "items", "sft/d1", "--task", "MMLU/anatomy", "--wrong", "--csv").stdout
    assert [row["index"] for row in csv.DictReader(io.StringIO(rows))] == ["1"]


def test_evaluations_of_two_kinds_are_one_csv_table(told: Told, layout: Layout) -> None:
    with Store(layout.store) as store:
        store.ingest("local", "r1", "events.jsonl", 0, whole_core(mean=0.31))
    known = json.loads(told(layout.base, "ls", "--json").stdout)
    ids = [str(one["id"]) for one in known if "reference" not in one]
    assert len(ids) == 2
    table = list(csv.DictReader(io.StringIO(told(layout.base, "show", *ids, "--csv").stdout)))
    assert {row["kind"] for row in table} == {"core", "bpb"}
    assert [row["accuracy"] for row in table if row["kind"] == "bpb"] == ["1.5", "1.6"]
    assert [row["centered"] for row in table if row["task"] == "CORE"] == ["0.31"]


def test_counts_of_a_tokenizer_are_whole_numbers(told: Told, layout: Layout) -> None:
    begun = start("tok_eval", {"tokenizer_dir": str(layout.tokenizer), "vocab_size": 273})
    figures = {"tok/news/tokens": 960, "tok/news/bytes_per_token": 1.7323, "tok/news/unknown_percent": 0.0}
    with Store(layout.store) as store:
        for run in ("r1", "r2"):
            take(store, run, log_of(begun, ("eval", None, figures), end()), "tok_eval", host="local")
    known = json.loads(told(layout.base, "ls", "--json", "--kind", "tokenizer").stdout)
    one, other = (str(each["id"]) for each in known)
    for words in (("show", one), ("show", one, other), ("compare", one, other)):
        lines = [line.split() for line in told(layout.base, *words).stdout.splitlines()]
        assert [
            cells[1]
            for name in ("tokens", "bytes_per_token", "unknown_percent")
            for cells in lines
            if cells[0] == f"news/{name}"
        ] == ["960", "1.7323", "0"], words


def test_one_damaged_record_costs_no_other(told: Told, chatted: Path) -> None:
    path = chatted / "runs" / "r0" / "chat-items.jsonl"
    path.write_text(path.read_text("utf-8").replace("question 1", 'quest"ion 1'), "utf-8")
    table = told(chatted, "items", "sft/d0", "--csv")
    prompts = [row["prompt"] for row in csv.DictReader(io.StringIO(table.stdout))]
    assert prompts == ["question 0", "(the record is damaged)", "question 2", "question 3"]
    records = told(chatted, "items", "sft/d0", "--json")
    assert [json.loads(line)["index"] for line in records.stdout.splitlines()] == [0, 2, 3]
    assert "the record of MMLU 1 is damaged" in records.stderr


def test_items_of_another_data_set_are_not_compared(told: Told, chatted: Path) -> None:
    done = told(chatted, "compare", "sft/d0", "sft/d2", "--json")
    assert "no item is the same in both" in done.stderr
    found = json.loads(done.stdout)
    assert found["paired"] is False and found["tasks"][0]["difference"] == 0.0


def test_a_host_out_of_reach_is_told_with_the_age_of_what_is_shown(told: Told, layout: Layout) -> None:
    HostBook(layout).add(Host(name="box", user="me", address="127.0.0.1", port=9))
    with Store(layout.store) as store:
        store.contact("box", 1e9)
        store.ingest("box", "r1", "events.jsonl", 0, whole_core(mean=0.31))
        store.ingest_state("box", {"run_id": "r2"}, {"run_id": "r2", "status": "running"})
        running = log_of(core_start("d8"), core_task("copa", 300), ("metric", None, {"progress": 0.4}))
        store.ingest("box", "r2", "events.jsonl", 0, running)
    done = nanochat(layout.base, "-m", "nanochat", "evals", "ls")
    assert "host 'box'" in done.stderr and "what is shown of it is as of Sep 09" in done.stderr
    assert "0.3100" in done.stdout and "running 40%" in done.stdout
    shown = json.loads(told(layout.base, "show", "base/d4", "--json").stdout)
    assert shown["core"] == 0.31 and shown["bpb"] == {"train": 1.5, "val": 1.6}


def test_nothing_evaluated_is_said(told: Told, tmp_path: Path) -> None:
    done = told(tmp_path)
    assert done.stdout == "" and "nothing has been evaluated yet" in done.stderr
    assert json.loads(told(tmp_path, "ls", "--json").stdout) == []
