"""The key of an item: one for every model, another for another question, other examples, another answer."""

from pathlib import Path
from typing import Any

import pytest

from nanochat.evals.bundle import CoreTask, Row
from nanochat.evals.chat import conversation_key
from nanochat.evals.icl import Item, PromptBuilder
from nanochat.tasks.base import Conversation, assistant, user
from nanochat.tasks.scoring import choice_conversation

ROWS: dict[str, list[Row]] = {
    "multiple_choice": [{"query": f"q {i}", "choices": ["a", "b"], "gold": i % 2} for i in range(6)],
    "schema": [
        {"context_options": [f"he {i}", f"she {i}"], "continuation": "ran", "gold": i % 2} for i in range(6)
    ],
    "language_modeling": [{"context": f"one {i} ", "continuation": "two"} for i in range(6)],
}


def by_bytes(text: str) -> list[int]:
    return list(text.encode())


def by_words(text: str) -> list[int]:
    return [hash(word) % 999 for word in text.split(" ")]


def item(kind: str, rows: list[Row], index: int = 0, shots: int = 2, **how: Any) -> Item:
    task = CoreTask("t", kind, Path(), shots, how.pop("delimiter", " "), 0.0)
    return PromptBuilder(task, rows, how.pop("encode", by_bytes), 0, **how).item(index)


@pytest.mark.parametrize("kind", ROWS)
def test_the_key_is_the_items_and_not_the_models(kind: str) -> None:
    rows = ROWS[kind]
    key = item(kind, rows).key
    same = [item(kind, rows, encode=by_words), item(kind, rows, max_tokens=4), item(kind, [*rows[:6]])]
    assert {one.key for one in same} == {key}
    changed = [dict(row) for row in rows]
    text = {"multiple_choice": "query", "schema": "continuation", "language_modeling": "context"}[kind]
    changed[0] |= {text: changed[0][text] + "?"}
    others = [
        item(kind, rows, 1),
        item(kind, rows, shots=1),
        item(kind, rows, shots=0),
        item(kind, rows[:4]),  # draws other examples
        item(kind, rows, delimiter="\n"),
        item(kind, changed),
    ]
    assert key not in {one.key for one in others}
    assert len({one.key for one in others}) == len(others)


def test_without_examples_the_same_row_has_one_key_wherever_it_stands() -> None:
    rows = ROWS["multiple_choice"]
    assert item("multiple_choice", rows, 3, shots=0).key == item("multiple_choice", rows[2:], 1, shots=0).key


def test_the_right_answer_is_in_the_key() -> None:
    rows = [dict(row) for row in ROWS["multiple_choice"]]
    key = item("multiple_choice", rows, shots=0).key
    rows[0]["gold"] = 1
    assert item("multiple_choice", rows, shots=0).key != key


def test_the_key_of_a_conversation() -> None:
    first = choice_conversation("which?", ("A", "B"), ("x", "y"), "A")
    key = conversation_key(first)
    assert conversation_key(choice_conversation("which?", ("A", "B"), ("x", "y"), "A")) == key
    code: Conversation = {"messages": [user("def f"), assistant("return 1")], "entry_point": "f", "test": "t"}
    others: list[Conversation] = [
        choice_conversation("which?", ("A", "B"), ("x", "y"), "B"),
        choice_conversation("which?", ("A", "B"), ("y", "x"), "A"),
        choice_conversation("which", ("A", "B"), ("x", "y"), "A"),
        code,
        {**code, "test": "u"},
        {**code, "entry_point": "g"},
    ]
    assert len({key, *map(conversation_key, others)}) == 7
