"""chat_eval: the same results for any batch, resuming where it was interrupted, one line for missing data."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from training_data import TINY, WORDS, events_of, link_base, make_base

from nanochat.checkpoint.weights import OpenedModel, open_model
from nanochat.common.paths import Layout
from nanochat.evals import chat_results
from nanochat.evals.chat import ChatEvaluator, GenerationConfig
from nanochat.evals.items import read_items
from nanochat.evals.records import RecordFile, accuracy
from nanochat.evals.results import read_result
from nanochat.run.activity import Activity
from nanochat.run.events import read_events
from nanochat.run.stage_run import main
from nanochat.tasks.base import Conversation, Task, assistant, user
from nanochat.tasks.scoring import choice_conversation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_base(tmp_path_factory.mktemp("base"))
    assert main("base_train", [f"--base-dir={folder}", *TINY, "--num-iterations=30", "--eval-every=-1"]) == 0
    (folder / "words_alpha.txt").write_text(
        "\n".join(sorted({*WORDS, *(a + b for a in WORDS for b in WORDS)}))
    )
    return folder


@pytest.fixture(scope="module")
def opened(base: Path) -> OpenedModel:
    return open_model(Layout(base), "base")


class Choices(Task):
    eval_type = "categorical"

    def num_examples(self) -> int:
        return 40

    def example(self, index: int) -> Conversation:
        letters = "ABCDE"[: 2 + index % 4]
        question = "the model " * (1 + 7 * index % 11)
        return choice_conversation(question, letters, ["read"] * len(letters), letters[index % len(letters)])

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        raise AssertionError("scored by letters")


class Writing(Task):
    """Right when the answer holds an e."""

    eval_type = "generative"

    def num_examples(self) -> int:
        return 24

    def example(self, index: int) -> Conversation:
        return {"messages": [user("the tokens " * (1 + index % 5)), assistant("e")]}

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        return "e" in completion


def evaluate(opened: OpenedModel, task: Task, rows: int, **how: Any) -> dict[int, dict[str, Any]]:
    evaluator = ChatEvaluator(
        opened.model, opened.tokenizer, rows, GenerationConfig(max_new_tokens=12, **how)
    )
    batches = evaluator.evaluate("task", task, range(len(task)))
    return {record["index"]: record for batch in batches for record in batch}


def test_multiple_choice_does_not_depend_on_the_batch(opened: OpenedModel) -> None:
    one, many = (evaluate(opened, Choices(), rows) for rows in (1, 8))
    assert set(one) == set(many) == set(range(40))
    for index, record in one.items():
        assert record["losses"] == pytest.approx(many[index]["losses"], abs=1e-4)
        assert record["prediction"] in Choices()[index]["letters"]
        assert record["correct"] == (record["prediction"] == record["gold"])
        best = min(range(len(record["losses"])), key=lambda i: record["losses"][i])
        assert record["prediction"] == "ABCDE"[best]


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0, "top_k": 5, "samples": 3}])
def test_written_answers_do_not_depend_on_the_batch(opened: OpenedModel, how: dict[str, Any]) -> None:
    one, many = (evaluate(opened, Writing(), rows, **how) for rows in (1, 8))
    assert one == many
    assert all(
        record["correct"] == any(sample["correct"] for sample in record["samples"]) for record in one.values()
    )
    assert all(record["correct"] == ("e" in record["prediction"]) for record in one.values())
    assert {len(record["samples"]) for record in one.values()} == {how.get("samples", 1)}


def chat_eval(base: Path, *options: str) -> int:
    fixed = ["-i=base", "--offline", "--dtype=float32", "--max-new-tokens=24"]
    return main("chat_eval", [f"--base-dir={base}", *fixed, *options])


def test_an_interrupted_run_resumes_to_the_same_results(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "run"))
    options = ("-a=Arithmetic,SpellingBee", "-x=20", f"--items={tmp_path / 'items.jsonl'}")
    assert chat_eval(base, *options) == 0
    whole = (tmp_path / "items.jsonl").read_text()
    records = [json.loads(line) for line in whole.splitlines()]
    assert [(r["task"], r["index"]) for r in records] == [
        (task, index) for task in ("Arithmetic", "SpellingBee") for index in range(20)
    ]
    events = read_events(tmp_path / "run" / "events.jsonl")[0]
    results = events[-1].data["results"]
    assert isinstance(results, dict)
    mean, error = accuracy([r for r in records if r["task"] == "Arithmetic"])
    assert (results["chat/Arithmetic"], results["chat/Arithmetic_stderr"]) == (mean, error)

    kept = tmp_path / "run" / "chat-items.jsonl"
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join(lines[:15]) + lines[15][:30])  # cut in the middle of a line
    monkeypatch.setenv("NANOCHAT_ATTEMPT", "2")
    assert chat_eval(base, *options) == 0
    assert (tmp_path / "items.jsonl").read_text() == whole


def test_a_later_attempt_evaluates_the_model_of_the_first(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was saved since: a later step, a deeper model. One score is never of two models."""
    link_base(base, tmp_path)
    tag = tmp_path / "base_checkpoints" / "d2"
    shutil.copytree(base / "base_checkpoints" / "d2", tag)
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "runs" / "run"))
    told: list[int] = []
    monkeypatch.setattr(Activity, "evaluating", lambda self, processes: nullcontext(told.append(processes)))
    options = ("-a=Arithmetic", "-x=6", "--max-new-tokens=2")
    assert chat_eval(tmp_path, *options) == 0
    assert told == [1]  # several would say that they can only stop between two tasks
    first = events_of(tmp_path)[-1].data["results"]
    shutil.copytree(tag / "step_000030", tag / "step_000040")
    shutil.copytree(tag, tag.with_name("d9"))
    monkeypatch.setenv("NANOCHAT_ATTEMPT", "2")
    assert chat_eval(tmp_path, *options) == 0
    again = events_of(tmp_path)[-1].data["results"]
    assert isinstance(first, dict) and isinstance(again, dict)
    assert again["checkpoint"] == first["checkpoint"] == str(tag / "step_000030")
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "runs" / "new"))
    assert chat_eval(tmp_path, *options) == 0  # has no first attempt
    new = events_of(tmp_path)[-1].data["results"]
    assert isinstance(new, dict)
    assert new["checkpoint"] == str(tag.with_name("d9") / "step_000040")
    shutil.rmtree(tag / "step_000030")
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "runs" / "run"))
    assert chat_eval(tmp_path, *options) == 2


def test_missing_data_is_one_line_by_name_and_an_alert_otherwise(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "run"))
    assert chat_eval(base, "-a=ARC-Easy") != 0
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "all"))
    assert chat_eval(base, "-x=2") == 0
    events = read_events(tmp_path / "all" / "events.jsonl")[0]
    left_out = [event for event in events if event.data.get("what") == "task_left_out"]
    assert len(left_out) == 5
    assert chat_eval(base, "-a=Identity") != 0


def test_real_multiple_choice(
    base: Path, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "run"))
    counted: list[int] = []
    monkeypatch.setattr(chat_results, "accuracy", lambda of: [counted.append(len(of)), accuracy(of)][1])
    assert chat_eval(base, "-a=ARC-Easy,MMLU", "-x=16", f"--task-data={shared_data / 'hub'}") == 0
    assert counted.count(16) == 2, "the figure of each task is computed once"
    results = read_events(tmp_path / "run" / "events.jsonl")[0][-1].data["results"]
    assert isinstance(results, dict)
    assert 0 <= results["chat/MMLU"] <= 1
    document = read_result(json.loads((base / "chat_eval" / "base_d2_000030.json").read_text()))
    assert document is not None
    mmlu = document.tasks["MMLU"]
    assert (mmlu.accuracy, mmlu.n, document.settings["max_problems"]) == (results["chat/MMLU"], 16, 16)
    assert sum(figure.n or 0 for figure in mmlu.subjects.values()) == 16
    items = read_items(base / document.items)
    assert len(items) == 32
    record = items.record(31)
    assert record.subject in mmlu.subjects
    assert len(record.choices) == len(record.letters) == len(record.losses) == 4
    assert all(choice in record.prompt for choice in record.choices)


def test_a_record_file_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"task": "a", "index": 0, "correct": true}\n{"task": "a"}\n')
    with pytest.raises(Exception, match=r"items\.jsonl, line 2"):
        RecordFile(path)
