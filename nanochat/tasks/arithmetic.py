"""Arithmetic: short word problems with calculator calls, in GSM8K's form, that a tiny model can learn.

It is generated and needs no download: a stand-in for GSM8K, and a score on it says nothing about GSM8K. A
hash of a question's text decides its split, so that no test question is ever trained on.
"""

import random
import zlib
from collections.abc import Callable

from nanochat.tasks.base import Conversation, assistant, text_part, tool_call, user
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tasks.scoring import NumberTask
from nanochat.tools.calculator import calculate

TEST_SHARE = 10
"""One question in this many belongs to the test split."""
TEST_SIZE, TRAIN_SIZE = 256, 8_000

_NAMES = ("Ana", "Ben", "Chen", "Dina", "Emre", "Fatou", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena")
_THINGS = ("apples", "books", "coins", "cards", "pens", "shells", "stones", "eggs", "stamps", "cups")

Step = tuple[str, str]
"""`(what is computed, expression)` of one step of a solution."""
Problem = tuple[str, list[Step]]


def _gain(source: random.Random, name: str, thing: str) -> Problem:
    have, more = source.randint(2, 40), source.randint(2, 40)
    question = f"{name} has {have} {thing} and gets {more} more. How many {thing} does {name} have now?"
    return question, [(f"{name} now has", f"{have}+{more}")]


def _loss(source: random.Random, name: str, thing: str) -> Problem:
    have = source.randint(10, 60)
    gone = source.randint(2, have - 1)
    question = f"{name} has {have} {thing} and gives away {gone}. How many {thing} are left?"
    return question, [("There are left", f"{have}-{gone}")]


def _groups(source: random.Random, name: str, thing: str) -> Problem:
    boxes, each = source.randint(2, 12), source.randint(2, 12)
    question = f"{name} fills {boxes} boxes with {each} {thing} each. How many {thing} is that?"
    return question, [("That makes", f"{boxes}*{each}")]


def _gain_and_loss(source: random.Random, name: str, thing: str) -> Problem:
    have, more = source.randint(5, 40), source.randint(5, 40)
    gone = source.randint(2, have + more - 1)
    question = (
        f"{name} has {have} {thing}, finds {more} more and loses {gone}. How many {thing} does {name} have?"
    )
    return question, [("First", f"{have}+{more}"), ("Then", f"{have + more}-{gone}")]


def _groups_and_rest(source: random.Random, name: str, thing: str) -> Problem:
    boxes, each, loose = source.randint(2, 12), source.randint(2, 12), source.randint(1, 20)
    question = (
        f"{name} has {boxes} boxes of {each} {thing} and {loose} loose {thing}. How many {thing} in all?"
    )
    return question, [("In boxes", f"{boxes}*{each}"), ("In all", f"{boxes * each}+{loose}")]


_KINDS: tuple[Callable[[random.Random, str, str], Problem], ...] = (
    _gain,
    _loss,
    _groups,
    _gain_and_loss,
    _groups_and_rest,
)


class Arithmetic(NumberTask):
    """Problems of one or two steps; each step calls the calculator."""

    def __init__(self, data: TaskData, request: Request) -> None:
        super().__init__(request.start, request.stop, request.step)
        self._test = request.split == "test"
        self._size = request.size or (TEST_SIZE if self._test else TRAIN_SIZE)

    def num_examples(self) -> int:
        return self._size

    def example(self, index: int) -> Conversation:
        source = random.Random(f"arithmetic {self._test} {index}")
        while True:
            kind = source.choice(_KINDS)
            question, steps = kind(source, source.choice(_NAMES), source.choice(_THINGS))
            if is_test_question(question) == self._test:
                return {"messages": [user(question), assistant(_solution(steps))]}


def is_test_question(question: str) -> bool:
    """Whether a question belongs to the test split."""
    return zlib.crc32(question.encode()) % TEST_SHARE == 0


def _solution(steps: list[Step]) -> list[dict[str, str]]:
    parts: list[dict[str, str]] = []
    before = ""
    for found, expression in steps:
        result = calculate(expression)
        assert result is not None
        parts += [text_part(f"{before}{found} {expression} = "), *tool_call(expression, result)]
        before = f"{result}.\n"
    parts.append(text_part(f"{before}#### {before[:-2]}"))
    return parts


SPECS = (
    TaskSpec(
        "Arithmetic",
        "short word problems with a calculator; a stand-in for GSM8K",
        ("test", "train"),
        Arithmetic,
    ),
)
