"""Scoring without a model: letters of multiple choice, numbers after `####`, ChatCORE."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from nanochat.common.errors import UserError
from nanochat.config.known_tasks import CHAT_TASKS, TASK_MEANS
from nanochat.tasks.base import Conversation, Task, assistant, last_text, user

_ANSWER = re.compile(r"#### (-?[0-9.,]+)")

CHAT_CORE_BASELINES = {name: guess for name, (_, guess) in CHAT_TASKS.items()}
"""Accuracy of guessing, by task."""

CHAT_CORE_TASKS = {name: tasks for name, tasks in TASK_MEANS.items() if name != "CORE"}
"""The means, by name, and their tasks."""


def chat_core(accuracies: Mapping[str, float]) -> dict[str, float]:
    """Each mean in `CHAT_CORE_TASKS` whose tasks are all among `accuracies` (0 to 1), of the accuracies
    centered so that guessing is 0 and perfection 1, as in CORE (arXiv 2406.11794, section 3.5)."""
    centered = {
        name: (accuracies[name] - baseline) / (1 - baseline)
        for name, baseline in CHAT_CORE_BASELINES.items()
        if name in accuracies
    }
    return {
        mean: sum(centered[name] for name in names) / len(names)
        for mean, names in CHAT_CORE_TASKS.items()
        if all(name in centered for name in names)
    }


# -- multiple choice -------------------------------------------------------------------------------


def render_choices(question: str, letters: Sequence[str], choices: Sequence[str]) -> str:
    """The user's message of a multiple-choice question.

    The letter follows its choice, which small models associate better, with no space before it, so that it is
    the same token as the assistant's answer.
    """
    listed = "".join(f"- {choice}={letter}\n" for letter, choice in zip(letters, choices, strict=True))
    return (
        f"Multiple Choice question: {question}\n{listed}\nRespond only with the letter of the correct answer."
    )


def choice_conversation(
    question: str, letters: Sequence[str], choices: Sequence[str], answer: str
) -> Conversation:
    """A multiple-choice item; `answer` is one of `letters`."""
    return {
        "messages": [user(render_choices(question, letters, choices)), assistant(answer)],
        "letters": list(letters),
        "choices": list(choices),
    }


class LetterTokenizer(Protocol):
    """What finding a letter's id needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...


class Letters:
    """The ids of answer letters under one tokenizer, each looked up once."""

    def __init__(self, tokenizer: LetterTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = {}

    def ids(self, letters: Sequence[str]) -> list[int]:
        """The id of each letter. Raises `UserError` when one is not a single token."""
        return [self._id(letter) for letter in letters]

    def _id(self, letter: str) -> int:
        if letter not in self._ids:
            ids = self._tokenizer.encode(letter)
            if len(ids) != 1:
                raise UserError(
                    f"the answer letter {letter!r} is {len(ids)} tokens under this tokenizer",
                    "multiple choice needs letters of one token each",
                )
            self._ids[letter] = ids[0]
        return self._ids[letter]


def best_letter(scores: Sequence[float], letters: Sequence[str]) -> str:
    """The letter with the highest score (its logit at the start of the answer); the first among equals."""
    best = max(range(len(letters)), key=lambda index: (scores[index], -index))
    return letters[best]


class ChoiceTask(Task):
    """A task whose answer is one letter."""

    eval_type = "categorical"

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        """Whether the letter is the correct one. ValueError when it is none of the item's letters."""
        if completion not in conversation["letters"]:
            raise ValueError(f"{completion!r} is none of the letters {conversation['letters']}")
        return completion == last_text(conversation)


# -- numbers ---------------------------------------------------------------------------------------


def extract_answer(text: str) -> str | None:
    """The number after the first `#### `, commas removed; None where there is none.

    Answers are compared as text, as in upstream nanochat: "5.0" is not "5".
    """
    match = _ANSWER.search(text)
    return match[1].replace(",", "") if match else None


class NumberTask(Task):
    """A task whose answer is text that ends in `#### ` and a number."""

    eval_type = "generative"

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        """Whether `completion` has the number that the conversation ends with."""
        return extract_answer(completion) == extract_answer(last_text(conversation))
