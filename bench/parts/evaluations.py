"""Evaluations in a base directory as the stages leave them: results, items, and a published table."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nanochat.config.known_tasks import CHAT_TASKS, CORE_TASKS
from nanochat.evals.item_record import item_key
from nanochat.evals.results import EvaluationResult, TaskFigure

ITEMS = 25
"""Items of each task."""
LETTERS = ("first", "second", "third", "last")


def make_evaluations(base: Path, *, tasks: Iterable[str] = CORE_TASKS, items: int = ITEMS) -> None:
    """Two steps of a base model with CORE and items, an sft model with chat tasks, and GPT-2's table."""
    now = time.time() - 600
    names = list(tasks)
    for step, every in ((100, 4), (200, 3)):
        records = [
            choice_record(task, at, (at + len(task)) % every != 0) for task in names for at in range(items)
        ]
        run = write_run_items(base, f"20261130-07{step:04d}-base_eval-0000", "core-items.jsonl", records)
        write_result(
            base / "base_eval" / f"base_model_{step:06d}.json", core_result(records, step, run, now + step)
        )
    chat = [sampled_record(at, at % 2 == 0) for at in range(items)]
    run = write_run_items(base, "20261130-080000-chat_eval-0000", "chat-items.jsonl", chat)
    write_result(base / "chat_eval" / "sft_d12_000300.json", chat_result(chat, run, now))
    bundle = base / "eval_bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{task:<35}, {baseline + 0.1:<10.6f}, {0.1:<10.6f}" for task, (_, baseline) in CORE_TASKS.items()
    ]
    table = [
        f"{'Task':<35}, {'Accuracy':<10}, {'Centered':<10}",
        *rows,
        f"{'CORE':<35}, {'':<10}, {0.1:<10.6f}",
    ]
    (bundle / "openai-community-gpt2.csv").write_text("\n".join(table) + "\n", encoding="utf-8")


def core_result(records: list[dict[str, Any]], step: int, run: str, t: float) -> EvaluationResult:
    """The result of an evaluation of CORE with these items."""
    tasks = {
        task: figure(records, task, CORE_TASKS[task][1]) for task in dict.fromkeys(r["task"] for r in records)
    }
    known = [one.centered for one in tasks.values() if one.centered is not None]
    whole = len(tasks) == len(CORE_TASKS)
    return EvaluationResult(
        "base/d12",
        step,
        "core",
        settings={"max_per_task": ITEMS},
        tasks=tasks,
        mean=sum(known) / len(known) if whole else None,
        mean_stderr=0.02 if whole else None,
        run=run,
        t=t,
        items=f"runs/{run}/core-items.jsonl",
        complete=True,
    )


def chat_result(records: list[dict[str, Any]], run: str, t: float) -> EvaluationResult:
    """The result of an evaluation of chat tasks: of GSM8K there are items, of MMLU subjects."""
    tasks = {
        name: TaskFigure(base + 0.2, 0.2 / (1 - base), 0.03, 200) for name, (_, base) in CHAT_TASKS.items()
    }
    subjects = {
        name: TaskFigure(0.4, 0.2, 0.05, 100) for name in ("abstract_algebra", "anatomy", "astronomy")
    }
    tasks["MMLU"] = TaskFigure(0.4, 0.2, 0.03, 300, subjects)
    tasks["GSM8K"] = figure(records, "GSM8K", 0.0)
    return EvaluationResult(
        "sft/d12",
        300,
        "chat",
        settings={"max_problems": 200},
        tasks=tasks,
        mean=0.21,
        mean_stderr=0.02,
        means={"ChatCORE": 0.21},
        run=run,
        t=t,
        items=f"runs/{run}/chat-items.jsonl",
        complete=True,
    )


def figure(records: list[dict[str, Any]], task: str, baseline: float) -> TaskFigure:
    """A task's figure over its records."""
    right = [record["correct"] for record in records if record["task"] == task]
    mean = sum(right) / len(right)
    return TaskFigure(
        mean, (mean - baseline) / (1 - baseline), math.sqrt(mean * (1 - mean) / len(right)), len(right)
    )


def choice_record(task: str, index: int, right: bool, prompt: str = "") -> dict[str, Any]:
    """A multiple-choice item, with two examples before what is asked."""
    gold = index % 4
    chosen = gold if right else (gold + 1) % 4
    losses = [3.0 + (index * 7 + place * 3) % 5 / 10 for place in range(4)]
    losses[chosen] = 1.5 + index % 10 / 10
    examples = "Question: Is two more than one?\nAnswer: yes\n\nQuestion: Is ice warm?\nAnswer: no\n\n"
    text = prompt or f"{examples}Question: Which number is {index}?\nAnswer:"
    choices = [f"the {word} one of {index}" for word in LETTERS]
    return {
        "v": 2,
        "task": task,
        "subject": "",
        "index": index,
        "key": item_key([text, task], choices, gold),
        "correct": right,
        "losses": losses,
        "prediction": chosen,
        "gold": gold,
        "choices": choices,
        "prompt": text,
        "samples": [],
    }


def sampled_record(index: int, right: bool, task: str = "GSM8K") -> dict[str, Any]:
    """A sampled item with a call of the calculator."""
    said = [
        {"type": "text", "text": f"He has {index}+2 = "},
        {"type": "python", "text": f"{index}+2"},
        {"type": "python_output", "text": str(index + 2)},
        {"type": "text", "text": f"{index + 2}.\n#### {index + 2}"},
    ]
    text = "".join(part["text"] for part in said)
    prompt, gold = (
        f"Ben has {index} books and gets 2 more. How many has he?",
        str(index + 2 if right else index + 3),
    )
    return {
        "v": 2,
        "task": task,
        "subject": "",
        "index": index,
        "key": item_key([prompt], [], gold),
        "correct": right,
        "losses": [],
        "prediction": text,
        "gold": gold,
        "choices": [],
        "prompt": prompt,
        "samples": [{"text": text, "correct": right, "transcript": said, "finish": "stop", "tokens": 21}],
        "samples_correct": int(right),
    }


def write_run_items(base: Path, run: str, name: str, records: Iterable[Mapping[str, Any]]) -> str:
    """Writes items into a run's folder; returns the run's id."""
    folder = base / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / name).write_text(text, encoding="utf-8")
    return run


def write_result(path: Path, result: EvaluationResult) -> None:
    """Writes a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.as_json()), encoding="utf-8")
