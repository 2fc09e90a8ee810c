"""What is known of each task before anything is evaluated: its category, and the accuracy of guessing.

CORE's tasks are those of the published bundle, as its eval_meta_data.csv has them.
"""

from __future__ import annotations

from collections.abc import Mapping

_LANGUAGE, _KNOWLEDGE, _SENSE = "language understanding", "world knowledge", "commonsense reasoning"
_SYMBOLS, _READING = "symbolic problem solving", "reading comprehension"

CORE_TASKS: Mapping[str, tuple[str, float]] = {
    "hellaswag_zeroshot": (_LANGUAGE, 0.25),
    "jeopardy": (_KNOWLEDGE, 0.0),
    "bigbench_qa_wikidata": (_KNOWLEDGE, 0.0),
    "arc_easy": (_KNOWLEDGE, 0.25),
    "arc_challenge": (_KNOWLEDGE, 0.25),
    "copa": (_SENSE, 0.5),
    "commonsense_qa": (_SENSE, 0.2),
    "piqa": (_SENSE, 0.5),
    "openbook_qa": (_SENSE, 0.25),
    "lambada_openai": (_LANGUAGE, 0.0),
    "hellaswag": (_LANGUAGE, 0.25),
    "winograd": (_LANGUAGE, 0.5),
    "winogrande": (_LANGUAGE, 0.5),
    "bigbench_dyck_languages": (_SYMBOLS, 0.0),
    "agi_eval_lsat_ar": (_SYMBOLS, 0.2),
    "bigbench_cs_algorithms": (_SYMBOLS, 0.0),
    "bigbench_operators": (_SYMBOLS, 0.0),
    "bigbench_repeat_copy_logic": (_SYMBOLS, 0.0),
    "squad": (_READING, 0.0),
    "coqa": (_READING, 0.0),
    "boolq": (_READING, 0.62),
    "bigbench_language_identification": (_LANGUAGE, 0.091),
}
"""Category and baseline of CORE's tasks, in the bundle's order."""

CHAT_TASKS: Mapping[str, tuple[str, float]] = {
    "ARC-Easy": ("science", 0.25),
    "ARC-Challenge": ("science", 0.25),
    "MMLU": (_KNOWLEDGE, 0.25),
    "GSM8K": ("arithmetic", 0.0),
    "HumanEval": ("code", 0.0),
    "SpellingBee": ("spelling", 0.0),
}
"""Category and baseline of the chat tasks, in the order of evaluation."""

TASK_MEANS: Mapping[str, tuple[str, ...]] = {
    "CORE": tuple(CORE_TASKS),
    "ChatCORE": ("ARC-Easy", "ARC-Challenge", "MMLU", "GSM8K", "HumanEval"),
    "ChatCORE_classic": tuple(CHAT_TASKS),
    "ChatCORE_cat": ("ARC-Easy", "ARC-Challenge", "MMLU"),
}
"""The means of centered accuracies, and their tasks: ChatCORE of upstream nanochat's modern era, that of its
classic era (with SpellingBee, so the two are not comparable), and that of multiple choice."""

_TASKS = {**CORE_TASKS, **CHAT_TASKS}


def category(task: str) -> str:
    """A task's category, "" for one that is not known. A subject (`MMLU/anatomy`) has its task's."""
    return _TASKS.get(task.partition("/")[0], ("", 0.0))[0]


def baseline(task: str) -> float | None:
    """The accuracy of guessing, 0 to 1; None for a task that is not known."""
    known = _TASKS.get(task.partition("/")[0])
    return None if known is None else known[1]


def centered(task: str, accuracy: float) -> float | None:
    """The accuracy so that guessing is 0 and perfection 1; None for a task that is not known."""
    guess = baseline(task)
    return None if guess is None else (accuracy - guess) / (1 - guess)


def uncentered(task: str, value: float) -> float | None:
    """The accuracy whose centered value this is; None for a task that is not known."""
    guess = baseline(task)
    return None if guess is None else value * (1 - guess) + guess
