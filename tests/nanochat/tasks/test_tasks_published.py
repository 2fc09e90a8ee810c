"""Tasks of published sets: conversations and tokens are upstream's, their own answers are correct."""

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sandbox_levels import SAFE, linux_only, need

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tasks import TaskData, make_task
from nanochat.tasks.gsm8k import solution_parts
from nanochat.tasks.humaneval import HumanEval, assemble, first_code_block, leading_imports
from nanochat.tasks.scoring import Letters
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tools.calculator import calculate
from nanochat.tools.sandbox import run_programs

ORACLES = {
    "gsm8k_test": ("GSM8K", "test"),
    "gsm8k_train": ("GSM8K", "train"),
    "mmlu_test": ("MMLU", "test"),
    "arc_easy_test": ("ARC-Easy", "test"),
    "arc_challenge_test": ("ARC-Challenge", "test"),
    "humaneval": ("HumanEval", "test"),
}


@pytest.fixture
def data(layout: Layout, shared_data: Path) -> TaskData:
    return TaskData.at(layout, folder=str(shared_data / "hub"))


@pytest.fixture(scope="module")
def tokenizer(shared_reference: Path) -> Tokenizer:
    return Tokenizer.load(shared_reference / "checkpoints" / "modern" / "tokenizer")


# -- parity with upstream ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORACLES)
def test_conversations_and_their_tokens_are_upstreams(name, data, shared_reference, tokenizer):
    oracle = json.loads((shared_reference / "oracles" / "tasks.json").read_bytes())["tasks"][name]
    task = make_task(ORACLES[name][0], data, ORACLES[name][1])
    assert len(task) == oracle["length"]
    assert len(oracle["examples"]) >= 4
    for expected in oracle["examples"]:
        conversation = task[expected["index"]]
        assert conversation["messages"] == expected["messages"]
        extra = {key: value for key, value in conversation.items() if key not in ("messages", "choices")}
        assert extra == expected["extra"]
        question = conversation["messages"][0]["content"]
        pairs = zip(conversation.get("choices", ()), conversation.get("letters", ()), strict=True)
        assert all(f"- {choice}={letter}\n" in question for choice, letter in pairs)
        ids, mask = tokenizer.render_conversation(conversation["messages"])
        assert (ids, mask) == (expected["ids"], expected["mask"])
        prompt = tokenizer.render_for_completion(conversation["messages"])
        assert len(prompt) == expected["completion_len"]
        assert prompt[-len(expected["completion_tail"]) :] == expected["completion_tail"]


@pytest.mark.parametrize(
    ("name", "split"), [*ORACLES.values(), ("MMLU", "dev"), ("MMLU", "auxiliary_train_standin")]
)
def test_every_item_is_a_conversation_whose_own_answer_is_right(name, split, data, tokenizer):
    task = make_task(name, data, split)
    letters = Letters(tokenizer)
    for conversation in task:
        answer = conversation["messages"][-1]["content"]
        tokenizer.render_for_completion(conversation["messages"][:1])
        if task.eval_type == "categorical":
            assert task.evaluate(conversation, answer)
            assert len(letters.ids(conversation["letters"])) >= 3
        elif name == "GSM8K":
            assert task.evaluate(conversation, answer[-1]["text"])


def test_arc_takes_the_letters_of_the_row(data):
    seen = {tuple(item["letters"]) for item in make_task("ARC-Challenge", data, "train")}
    assert seen == {tuple("ABC"), tuple("ABCD"), tuple("ABCDE")}


def test_the_calculator_computes_what_gsm8k_says(data):
    """Of the calls in the training set nearly all have the result that is written there."""
    right = total = 0
    for conversation in make_task("GSM8K", data, "train", stop=2000):
        parts = conversation["messages"][-1]["content"]
        for call, output in pairwise(parts):
            if call["type"] == "python":
                total += 1
                answer = calculate(call["text"])
                try:
                    right += answer is not None and abs(float(answer) - float(output["text"])) < 0.01
                except ValueError:
                    continue
    assert total > 5000 and right / total > 0.97


@pytest.mark.parametrize(
    ("solution", "kinds"),
    [
        ("a <<1+1=2>>2", [("text", "a "), ("python", "1+1"), ("python_output", "2"), ("text", "2")]),
        ("<<1=1=1>>", [("text", ""), ("python", "1=1"), ("python_output", "1"), ("text", "")]),
        ("<<5>>", [("text", ""), ("python", "5"), ("python_output", ""), ("text", "")]),
        ("a << b", [("text", "a << b")]),
        ("<<a>b=1>>", [("text", "<<a>b=1>>")]),
    ],
)
def test_a_solution_falls_into_text_and_calls(solution, kinds):
    assert [(part["type"], part["text"]) for part in solution_parts(solution)] == kinds


# -- HumanEval -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_canonical_solution_passes_in_the_sandbox(data):
    task = make_task("HumanEval", data)
    items = list(task)
    assert len(items) == 82
    right = task.evaluate_all(items, [item["messages"][-1]["content"] for item in items])
    assert right == [True] * 82


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("level", SAFE[1:])
def test_and_at_every_weaker_level(data, level):
    need(level)
    task = make_task("HumanEval", data)
    programs = [assemble(item, item["messages"][-1]["content"]) for item in task]
    assert [result.error for result in run_programs(programs, level=level)] == [""] * 82


def test_wrong_and_cheap_answers_fail(data):
    task = make_task("HumanEval", data)
    item = task[0]
    name = item["entry_point"]
    answer = item["messages"][-1]["content"]
    assert task.evaluate(item, f"Sure!\n```python\n{answer}\n```\nThat is it.\n```\nnonsense(\n```")
    cheap = [
        "",
        f"def {name}(*a): return None",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        answer + "\n!",
    ]
    assert task.evaluate_all([item] * len(cheap), cheap) == [False] * len(cheap)
    assert task.reward(item, answer) == 1.0


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("text\n```\nx = 1\ny = 2\n```\nmore\n```python\nz\n```", "x = 1\ny = 2"),
        ("```python   \n  x = 1\n```", "x = 1"),
        ("  x = 1\n", "x = 1"),
        ("```js\nx\n```", "```js\nx\n```"),
        ("```python\nunfinished", "```python\nunfinished"),
    ],
)
def test_the_first_block_of_code(completion, code):
    assert first_code_block(completion) == code


def test_imports_come_from_the_head_of_the_prompt_only():
    prompt = "\nfrom typing import List\n# a note\n\n  import math\n\ndef f():\n    import os\n"
    assert leading_imports(prompt) == "from typing import List\nimport math"
    assert leading_imports('"""doc"""\nimport math') == ""
    program = assemble(
        {"messages": [{"role": "user", "content": prompt}], "test": "TEST", "entry_point": "f"},
        "```\nCODE\n```",
    )
    assert program == "from typing import List\nimport math\n\nCODE\n\nTEST\ncheck(f)"


def test_evaluating_without_a_sandbox_is_refused_unless_unsafe(data, monkeypatch):
    from nanochat.tools import sandbox

    task = make_task("HumanEval", data)
    assert isinstance(task, HumanEval)
    monkeypatch.setattr(
        sandbox, "strongest_level", lambda: sandbox.SupportedLevel("rlimits", ("rlimits",), {})
    )
    item = task[0]
    with pytest.raises(UserError, match="no sandbox is available"):
        task.evaluate_all([item], ["x"])
    task.unsafe = True
    assert task.evaluate_all([item], [item["messages"][-1]["content"]]) == [True]


# -- shapes that the data at hand does not have ------------------------------------------------------


def test_smoltalk_keeps_a_system_message_and_refuses_what_is_no_conversation(layout, tmp_path):
    def write(*conversations: list[tuple[str, str]]) -> None:
        rows = [[{"content": text, "role": role} for role, text in messages] for messages in conversations]
        place = tmp_path / "HuggingFaceTB" / "smol-smoltalk" / "default" / "train"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"messages": rows, "source": ["s"] * len(rows)}), place / "00000.parquet")

    data = TaskData.at(layout, folder=str(tmp_path))
    write([("system", "be brief"), ("user", "hi"), ("assistant", "ho")])
    assert make_task("SmolTalk", data, "train")[0]["messages"][0] == {"role": "system", "content": "be brief"}
    for bad in ([("user", "a"), ("user", "b")], [("user", "a")], [("assistant", "a"), ("user", "b")]):
        write(bad)
        with pytest.raises(UserError, match="SmolTalk item 0"):
            make_task("SmolTalk", data, "train")[0]


def test_the_classic_auxiliary_set_of_mmlu_is_unwrapped(layout, tmp_path):
    row = {"question": "q", "subject": "", "choices": ["a", "b", "c", "d"], "answer": 2}
    place = tmp_path / "cais" / "mmlu" / "auxiliary_train" / "train"
    place.mkdir(parents=True)
    pq.write_table(pa.table({"train": [row]}), place / "00000.parquet")
    task = make_task("MMLU", TaskData.at(layout, folder=str(tmp_path)), "auxiliary_train_classic")
    assert task[0]["messages"][1]["content"] == "C"
