"""Tasks in general: slices, mixtures, names, and the scoring that needs no model."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tasks import Conversation, Task, TaskData, make_task, task_spec, task_specs
from nanochat.tasks.base import assistant, text_part, user
from nanochat.tasks.mixture import Mixture
from nanochat.tasks.scoring import (
    ChoiceTask,
    Letters,
    NumberTask,
    best_letter,
    chat_core,
    choice_conversation,
    extract_answer,
    render_choices,
)
from nanochat.tokenizer.tokenizer import Tokenizer


class Counting(NumberTask):
    """`size` questions; the answer of question i is i."""

    def __init__(self, size: int, start: int = 0, stop: int | None = None, step: int = 1) -> None:
        super().__init__(start, stop, step)
        self.size = size

    def num_examples(self) -> int:
        return self.size

    def example(self, index: int) -> Conversation:
        return {"messages": [user(f"{self.size}: {index}?"), assistant([text_part(f"#### {index}")])]}


def asked(task: Task) -> list[str]:
    return [conversation["messages"][0]["content"] for conversation in task]


@given(st.integers(0, 30), st.integers(0, 40), st.none() | st.integers(0, 40), st.integers(1, 7))
def test_a_slice_is_pythons(size, start, more, step):
    stop = None if more is None else start + more
    task = Counting(size, start, stop, step)
    expected = [f"{size}: {index}?" for index in range(size)][start:stop:step]
    assert asked(task) == expected
    assert len(task) == len(expected)
    assert [task[i]["messages"][0]["content"] for i in range(len(task))] == expected
    with pytest.raises(IndexError):
        task[len(task)]


@pytest.mark.parametrize("bad", [(-1, None, 1), (5, 4, 1), (0, None, 0)])
def test_a_slice_that_makes_no_sense_is_refused(bad):
    with pytest.raises(UserError, match="is invalid"):
        Counting(10, *bad)


@given(st.lists(st.integers(0, 20), max_size=5))
def test_a_mixture_holds_every_example_in_upstreams_order(sizes):
    tasks = [Counting(size) for size in sizes]
    mixture = Mixture(tasks)
    order = [(task, index) for task, size in enumerate(sizes) for index in range(size)]
    random.Random(42).shuffle(order)
    assert [mixture.locate(index) for index in range(len(mixture))] == order
    assert asked(mixture) == [f"{sizes[task]}: {index}?" for task, index in order]


def test_a_task_given_twice_is_seen_twice():
    once, twice = Counting(5), Counting(7)
    assert Counter(asked(Mixture([once, twice, twice]))) == {
        **{f"5: {i}?": 1 for i in range(5)},
        **{f"7: {i}?": 2 for i in range(7)},
    }


def test_a_mixture_of_slices_and_a_slice_of_a_mixture():
    mixture = Mixture([Counting(10, stop=3), Counting(20, start=18)])
    assert sorted(asked(mixture)) == ["10: 0?", "10: 1?", "10: 2?", "20: 18?", "20: 19?"]
    assert asked(Mixture([Counting(10)], start=2, stop=8, step=3)) == asked(Mixture([Counting(10)]))[2:8:3]


def test_a_mixture_of_a_million_is_made_in_a_moment():
    mixture = Mixture([Counting(460_000), Counting(100_000), Counting(440_000)])
    assert len(mixture) == 1_000_000
    assert len({mixture.locate(index) for index in range(0, 1_000_000, 1000)}) == 1000


# -- names -----------------------------------------------------------------------------------------


def test_every_task_is_found_by_its_name_in_any_case():
    assert set(task_specs()) == {
        "ARC-Challenge", "ARC-Easy", "Arithmetic", "CustomJSON", "GSM8K", "HumanEval", "Identity", "MMLU",
        "SimpleSpelling", "SmolTalk", "SpellingBee",
    }  # fmt: skip
    assert task_spec("gsm8k") is task_spec("GSM8K")


def test_unknown_names_and_splits_are_answered_with_known_ones(layout: Layout):
    with pytest.raises(UserError, match="did you mean 'SpellingBee'"):
        task_spec("SpelingBee")
    with pytest.raises(UserError, match=r"no split 'tset' .*'test'"):
        make_task("Arithmetic", TaskData.at(layout), "tset")


NEW_TASK = """
from nanochat.tasks.base import Task, assistant, user
from nanochat.tasks.registry import TaskSpec

class Echo(Task):
    def __init__(self, data, request):
        super().__init__(request.start, request.stop, request.step)
    def num_examples(self):
        return 3
    def example(self, index):
        return {"messages": [user(f"say {index}"), assistant(str(index))]}

SPECS = (TaskSpec("Echo", "says it again", ("train",), Echo),)
"""


def test_a_new_task_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout):
    import nanochat.tasks as package

    (tmp_path / "echo.py").write_text(NEW_TASK)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    task_specs.cache_clear()
    try:
        task = make_task("echo", TaskData.at(layout), start=1)
        assert asked(task) == ["say 1", "say 2"]
    finally:
        task_specs.cache_clear()
        sys.modules.pop("nanochat.tasks.echo", None)


def test_the_list_of_tasks_loads_nothing_heavy():
    code = "import sys; from nanochat.tasks import task_specs; task_specs(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert not {"torch", "pyarrow", "numpy", "tiktoken"} & set(done.stdout.split())


# -- scoring ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so it is\n#### 72", "72"),
        ("#### 1,234,567 dollars", "1234567"),
        ("#### -3", "-3"),
        ("#### 5.0", "5.0"),
        ("#### 12.", "12."),
        ("#### 3\n#### 4", "3"),
        ("#### three\n#### 4", "4"),
        ("####4", None),
        ("72", None),
        ("", None),
        ("#### $5", None),
        ("#### ٣", None),
    ],
)
def test_the_number_after_four_hashes(text, answer):
    assert extract_answer(text) == answer


def test_numbers_are_compared_as_text():
    task = Counting(20)
    assert task.evaluate(
        task[12], "<|python_start|>3*4<|python_end|><|output_start|>12<|output_end|>\n#### 12"
    )
    assert task.reward(task[12], "#### 12") == 1.0 and task.reward(task[12], "#### 12.0") == 0.0
    assert not task.evaluate(task[12], "12")
    assert task.evaluate_all([task[1], task[2]], ["#### 1", "#### 1"]) == [True, False]


def test_a_multiple_choice_question_as_the_model_sees_it():
    assert render_choices("Why?", ["A", "B"], ["so", "no = yes"]) == (
        "Multiple Choice question: Why?\n- so=A\n- no = yes=B\n\n"
        "Respond only with the letter of the correct answer."
    )


class OneChoice(ChoiceTask):
    def num_examples(self) -> int:
        return 1

    def example(self, index: int) -> Conversation:
        return choice_conversation("Why?", ["1", "2", "E"], ["a", "b", "c"], "E")


def test_a_choice_is_right_when_the_letter_is():
    task = OneChoice()
    assert task.evaluate(task[0], "E") and not task.evaluate(task[0], "2")
    with pytest.raises(ValueError, match="none of the letters"):
        task.evaluate(task[0], "A")


def test_the_best_letter_is_the_first_among_equals():
    assert best_letter([0.1, 3.0, 3.0], "ABC") == "B"
    assert best_letter([-5.0, -7.0], "AB") == "A"


def test_a_letter_must_be_one_token():
    tokenizer = Tokenizer({bytes([byte]): byte for byte in range(256)})
    letters = Letters(tokenizer)
    assert letters.ids(["A", "1"]) == [65, 49]
    with pytest.raises(UserError, match="'Ä' is 2 tokens"):
        letters.ids(["A", "Ä"])


def test_chat_core_is_the_centered_mean_of_each_era():
    published = {
        "ARC-Easy": 0.3876,
        "ARC-Challenge": 0.2807,
        "GSM8K": 0.0455,
        "HumanEval": 0.0854,
        "MMLU": 0.3151,
        "SpellingBee": 0.0,
    }
    means = chat_core(published)
    centered = [(0.3876 - 0.25) / 0.75, (0.2807 - 0.25) / 0.75, (0.3151 - 0.25) / 0.75]
    assert means["ChatCORE_cat"] == pytest.approx(sum(centered) / 3)
    assert means["ChatCORE"] == pytest.approx((sum(centered) + 0.0455 + 0.0854) / 5)
    assert means["ChatCORE"] == pytest.approx(0.0884, abs=5e-4)
    assert means["ChatCORE_classic"] == pytest.approx((sum(centered) + 0.0455 + 0.0854) / 6)


def test_chat_core_of_some_tasks_only_names_the_means_that_hold():
    assert chat_core({"ARC-Easy": 1.0, "ARC-Challenge": 1.0, "MMLU": 0.25}) == {
        "ChatCORE_cat": pytest.approx(2 / 3)
    }
    assert chat_core({}) == {}
