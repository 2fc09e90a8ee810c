"""Records and figures of chat tasks: all samples with their tool calls, choices, subjects, ChatCORE."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from training_data import byte_tokenizer
from upstream_files import random_model

from nanochat.config.known_tasks import CHAT_TASKS
from nanochat.evals.chat import ChatEvaluator, GenerationConfig
from nanochat.evals.chat_results import chat_figure, with_means
from nanochat.evals.item_record import ItemRecord, read_record
from nanochat.evals.results import EvaluationResult
from nanochat.infer.engine import Completion
from nanochat.infer.scheduler import FinishReason, Request
from nanochat.model.architecture import ModelConfig
from nanochat.tasks.base import Conversation, Task, assistant, tool_call, user
from nanochat.tasks.scoring import NumberTask, choice_conversation

TOKENIZER = byte_tokenizer()


class Sums(NumberTask):
    def num_examples(self) -> int:
        return 2

    def example(self, index: int) -> Conversation:
        return {"messages": [user(f"1+{index}?"), assistant(f"#### {1 + index}")]}


class Subjects(Task):
    eval_type = "categorical"

    def num_examples(self) -> int:
        return 6

    def example(self, index: int) -> Conversation:
        choices = [f"{index} a", "b", "c"]
        item = choice_conversation(f"question {index}", ("A", "B", "C"), choices, "ABC"[index % 3])
        item["subject"] = ("anatomy", "virology")[index % 2]
        return item


@pytest.fixture(scope="module")
def evaluator() -> ChatEvaluator:
    model = random_model(ModelConfig(64, TOKENIZER.vocab_size, 2, 2, 2, 32))
    return ChatEvaluator(model, TOKENIZER, 4, GenerationConfig(samples=3))


def records_of(evaluator: ChatEvaluator, task: Task) -> list[dict[str, Any]]:
    batches = evaluator.evaluate("task", task, range(len(task)))
    return sorted((record for batch in batches for record in batch), key=lambda record: record["index"])


def read(record: dict[str, Any]) -> ItemRecord:
    found = read_record(record)
    assert found is not None and found.version == 2
    return found


def completion(*parts: str | dict[str, str], ends: bool = True) -> Completion:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    messages = [user("?"), assistant(content)]
    ids = TOKENIZER.render_conversation(messages)[0][len(TOKENIZER.render_for_completion(messages)) :]
    tokens = ids if ends else ids[:-1]
    finish = FinishReason.STOP if ends else FinishReason.LENGTH
    return Completion(tokens, [True] * len(tokens), finish)


def test_every_sample_is_kept_with_its_tool_calls(
    evaluator: ChatEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [
        completion("I think #### 3"),
        completion("so ", *tool_call("1+0", "1"), " then\n#### 1"),
        completion("#### 1", ends=False),
    ]
    second = [completion("no"), completion("yes", ends=False), completion("#### 22")]

    def complete(requests: Sequence[Request], rows: int) -> list[list[Completion]]:
        assert [request.samples for request in requests] == [3, 3]
        return [first, second]

    monkeypatch.setattr(evaluator.engine, "complete", complete)
    right, wrong = map(read, records_of(evaluator, Sums()))
    assert [sample.correct for sample in right.samples] == [False, True, True]
    assert (right.correct, right.samples_correct, right.sample_count) == (True, 2, 3)
    assert right.prediction == right.samples[1].text
    assert right.samples[1].text == (
        "so <|python_start|>1+0<|python_end|><|output_start|>1<|output_end|> then\n#### 1"
    )
    assert right.samples[1].transcript == (
        ("text", "so "), ("python", "1+0"), ("python_output", "1"), ("text", " then\n#### 1"),
    )  # fmt: skip
    assert [sample.finish for sample in right.samples] == ["stop", "stop", "length"]
    assert [sample.tokens for sample in right.samples] == [len(one.tokens) for one in first]
    assert (wrong.correct, wrong.prediction, wrong.samples_correct) == (False, "no", 0)
    assert (right.prompt, right.gold, right.choices, right.gold_choice) == ("1+0?", "#### 1", (), None)
    assert right.key != wrong.key


def test_choices_letters_and_subjects_are_kept(evaluator: ChatEvaluator) -> None:
    found = list(map(read, records_of(evaluator, Subjects())))
    assert [one.subject for one in found] == ["anatomy", "virology"] * 3
    for index, one in enumerate(found):
        assert one.choices == (f"{index} a", "b", "c")
        assert one.letters == ("A", "B", "C")
        assert one.gold_choice == index % 3
        assert one.predicted_choice == min(range(3), key=lambda i: one.losses[i] or 0.0)
        assert one.samples == () and one.sample_count == 0
    assert len({one.key for one in found}) == 6


def test_figures_by_subject_and_the_error_of_chat_core() -> None:
    records = [
        {"correct": index < 3, "subject": name} for name in ("virology", "anatomy") for index in range(4)
    ]
    figure = chat_figure("MMLU", records)
    assert (figure.accuracy, figure.n, figure.centered) == (0.75, 8, pytest.approx(2 / 3))
    assert list(figure.subjects) == ["anatomy", "virology"]
    assert figure.subjects["anatomy"].n == 4
    mixed = chat_figure("MMLU", [*records, {"correct": True}])  # its run began with an earlier release
    assert (mixed.n, mixed.subjects) == (9, {})
    told = EvaluationResult("sft/d2", 1, "chat", tasks=dict.fromkeys(CHAT_TASKS, figure))
    whole = with_means(told, {"ChatCORE": 0.5, "ChatCORE_cat": 0.6})
    stderr = math.sqrt(0.75 * 0.25 / 8)
    expected = math.sqrt(3 * (stderr / 0.75) ** 2 + 2 * stderr**2) / 5
    assert (whole.mean, whole.mean_stderr) == (0.5, pytest.approx(expected))
    assert with_means(told, {"ChatCORE_cat": 0.6}).mean is None
